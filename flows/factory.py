"""The whole line on one machine, without dvc: for a laptop, for tests, and for a first look at a dataset."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.generate import GenerateReport, generate
from flows.inputs import inputs
from flows.line.lock import exclusive
from flows.release import release
from flows.train import train
from tasks.contracts import DefectoryError
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="factory", persist_result=False)
@exclusive
def factory(params: Path = PARAMS, root: Path = ROOT) -> GenerateReport:
    """Photographs in, a release out. Each station does only what is missing."""
    inputs(params, root)
    return resume(params, root)


@flow(name="resume", persist_result=False)
@exclusive
def resume(params: Path = PARAMS, root: Path = ROOT) -> GenerateReport:
    """Go on with a run whose inputs have been read: train, make the missing shards, release."""
    if not Workspace(root).inputs.is_dir():
        raise DefectoryError(f"{Workspace(root).inputs} is missing, so there is nothing to resume: `defectory run`")
    train(params, root)
    made = generate(params, root)
    release(params, root)
    return made
