"""The synthesis systems by name: each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tasks.params import Params
from tasks.params.registry import entry_of
from tasks.synthesis.protocol import System


def system_named(name: str) -> System:
    """The system called `name`; raises DefectoryError naming the nearest one that exists."""
    return cast(System, import_module(entry_of(name).module))


def used_systems(params: Params) -> list[str]:
    """The names of the systems with a share above 0, sorted; DefectoryError for a name that no system has."""
    used = sorted(name for name, share in params.paint.systems.items() if share > 0)
    for name in used:
        entry_of(name)
    return used
