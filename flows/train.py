"""Train: fit the synthesis system to these inputs. Out: `<root>/models`; resumed where it was stopped."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow

from flows.policy import station
from flows.stage import run_stage
from flows.terminal import progress
from flows.timing import record_wall
from flows.workspace import PARAMS, ROOT, Workspace
from tasks.arithmetic import fix_arithmetic
from tasks.inputs.store import read_inputs
from tasks.params import Params, load_params
from tasks.synthesis import system_named


@flow(name="train", persist_result=False)
def train(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Fit the system that `paint.system` names; what is fitted already is not fitted again."""
    workspace, start = Workspace(root), time.perf_counter()
    if fit_system(load_params(params), workspace):
        record_wall(workspace, "train", start)


@station("fit {params.paint.system}")
def fit_system(params: Params, workspace: Workspace) -> bool:
    """Whether there was anything to do."""
    fix_arithmetic(params)
    steps = 0

    def count(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        report(what, done, total)

    with progress() as report:
        system_named(params.paint.system).fit(read_inputs(workspace.inputs), params, workspace.models, count)
    return steps > 0


if __name__ == "__main__":
    run_stage(train, "Train the synthesis system on the train split of the inputs.")
