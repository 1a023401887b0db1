"""Evaluate: what a release is worth to whoever trains on it, against what is free and against the few real defects.

In: inputs, pseudo-masks and the release. Out: `<root>/evaluation`: a report, its figures, and a picture a category and
detector. The test split is read here and nowhere else.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from prefect import flow

from flows.line.lock import alone
from flows.line.stage import run_stage
from flows.line.timing import record_wall
from flows.policy import device, station
from flows.terminal import output, progress
from tasks.contracts import DefectoryError
from tasks.evaluation.outcome import EVALUATION_REPORT
from tasks.evaluation.run import run_arms
from tasks.files.names import MANIFEST
from tasks.networks.arithmetic import fix_arithmetic
from tasks.params import Params, load_params
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="evaluate", persist_result=False)
def evaluate(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Measure the release's worth. Raises DefectoryError where it leaks, or there is none."""
    workspace, wanted, start = Workspace(root), load_params(params), time.perf_counter()
    if not (workspace.release / MANIFEST).is_file():
        raise DefectoryError(f"{workspace.release}: no release to evaluate; `defectory run` makes one")
    where = device()
    fix_arithmetic(wanted)
    with alone(workspace.evaluation_cache):  # not the whole workspace: versions are published meanwhile
        arms(wanted, workspace, where)
    output.print(f"{workspace.evaluation / EVALUATION_REPORT}")
    record_wall(workspace, "evaluate", start)


@station("arms")
def arms(params: Params, workspace: Workspace, device: torch.device) -> None:
    with progress() as report:
        run_arms(params, workspace, device, report)


if __name__ == "__main__":
    run_stage(evaluate, "Measure what the release is worth to whoever trains on it.")
