"""Train: fit the synthesis systems to these inputs. Out: `<root>/models`; resumed where it was stopped."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from prefect import flow

from flows.line.lock import exclusive
from flows.line.stage import run_stage
from flows.line.timing import record_wall
from flows.policy import device, station
from flows.terminal import progress
from tasks.inputs.dataset import read_inputs
from tasks.networks.arithmetic import fix_arithmetic
from tasks.params import Params, load_params
from tasks.synthesis.fitting import fit_systems
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="train", persist_result=False)
@exclusive
def train(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Fit the systems that `paint.systems` names; what is fitted already is not fitted again."""
    workspace, start = Workspace(root), time.perf_counter()
    if fit(load_params(params), workspace, device()):
        record_wall(workspace, "train", start)


@station("fit")
def fit(params: Params, workspace: Workspace, device: torch.device) -> bool:
    """Whether there was anything to do."""
    fix_arithmetic(params)
    steps = 0

    def count(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        report(what, done, total)

    with progress() as report:
        fit_systems(read_inputs(workspace.inputs), params, workspace.models, device, count)
    return steps > 0


if __name__ == "__main__":
    run_stage(train, "Train the synthesis system on the train split of the inputs.")
