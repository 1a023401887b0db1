"""The synthesis systems by name."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import cast

from tasks.contracts import DefectoryError
from tasks.synthesis.protocol import System

SYSTEMS = {"adabldm": "tasks.synthesis.adabldm"}
"""Name in params (`paint.system`) and the module that is the system; imported when asked for."""


def system_named(name: str) -> System:
    """The system called `name`; raises DefectoryError naming the nearest one that exists."""
    if name not in SYSTEMS:
        near = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(SYSTEMS))}"
        raise DefectoryError(f"paint.system: no synthesis system is called '{name}'; {hint}")
    return cast(System, import_module(SYSTEMS[name]))
