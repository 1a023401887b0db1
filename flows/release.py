"""Release: thresholds, manifest, ledger, card, sheets, report and gate over the candidates. Seconds, no GPU."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow

from flows.line.lock import exclusive
from flows.line.stage import run_stage
from flows.line.timing import record_wall
from flows.policy import station
from tasks.contracts import ShardPlan
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.params import Params, load_params
from tasks.plan import plan_shards
from tasks.release.build import ReleaseReport, build_release
from tasks.synthesis.fitted import fitted_sha256
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="release", persist_result=False)
@exclusive
def release(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Decide what is accepted, and write `<root>/release`. Raises DefectoryError when the gate refuses it."""
    workspace, wanted, start = Workspace(root), load_params(params), time.perf_counter()
    images = read_inputs(workspace.inputs)
    plans = plan_shards(wanted, images, fitted_sha256(wanted, images, workspace.models))
    select_and_write(wanted, images, plans, workspace, command_for(params))
    record_wall(workspace, "release", start)


@station("select and write")
def select_and_write(
    params: Params, inputs: Inputs, plans: tuple[ShardPlan, ...], workspace: Workspace, command: str
) -> ReleaseReport:
    return build_release(params, inputs, plans, workspace.candidates, workspace.release, command)


def command_for(params: Path) -> str:
    """The command on the dataset's card: the same whether dvc or a person ran the stage."""
    return "defectory run" if params.name == PARAMS.name else f"defectory run --params {params.name}"


if __name__ == "__main__":
    run_stage(release, "Select, describe and gate a release of the candidates.", uses_model=False)
