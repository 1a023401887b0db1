"""Runs one stage as a program: `python -m flows.<stage> [--params params.yaml] [--root data]`, which is what dvc calls.

In: a flow over params and root. Out: an exit status. A stage that is part of a larger run reports to that run's
Prefect server; on its own it has an embedded one for as long as it lasts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from flows.server import prefect_server
from flows.terminal import run_to_status
from flows.workspace import PARAMS, ROOT
from tasks.params import load_params


def run_stage(stage: Callable[[Path, Path], object], what: str) -> None:
    """Read the command line, run the stage and exit: 0 when it is done, 1 with one clear line when it is not."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--params", type=Path, default=PARAMS, help="what to make (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the data are (default: %(default)s)")
    given = parser.parse_args()
    sys.exit(run_to_status(lambda: recorded(stage, given.params, given.root)))


def recorded(stage: Callable[[Path, Path], object], params: Path, root: Path) -> None:
    """Run a stage with a Prefect server that records it; bad params end it before that server is started."""
    load_params(params)
    with prefect_server():
        stage(params, root)
