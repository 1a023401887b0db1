"""Runs one stage as a program: `python -m flows.<stage> [--params params.yaml] [--root data]`, which is what dvc calls.

In: a flow over params and root. Out: an exit status. A stage that is part of a larger run reports to that run's
Prefect server; on its own it has an embedded one for as long as it lasts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.server.server import prefect_server
from flows.terminal import exit_with
from tasks.params import Params, load_params
from tasks.synthesis import system_named, used_systems
from tasks.workspace import PARAMS, ROOT

Stage = Callable[[Path, Path], object]
"""A flow over params and root."""


def run_stage(stage: Stage, what: str, uses_model: bool = True) -> None:
    """Read the command line, run the stage and exit: 0 when it is done, 1 with one clear line when it is not."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--params", type=Path, default=PARAMS, help="what to make (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the data are (default: %(default)s)")
    given = parser.parse_args()
    exit_with(lambda: recorded(stage, given.params, given.root, uses_model))


def recorded(stage: Stage, params: Path, root: Path, uses_model: bool = True) -> None:
    """Run a stage with a Prefect server that records it; bad params end it before that server is started.

    The libraries of the systems that paint take seconds to import: that is done while the server starts.
    """
    wanted = load_params(params)
    with prefect_server(partial(_import_systems, wanted) if uses_model else lambda: None):
        stage(params, root)


def _import_systems(params: Params) -> None:
    for name in used_systems(params):
        system_named(name)
