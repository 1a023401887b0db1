"""Inputs: read every source of the params, check, split without leaks, hash. Out: `<root>/inputs`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from prefect import flow

from flows.policy import station
from flows.stage import run_stage
from flows.terminal import output, progress
from flows.timing import timed
from flows.workspace import PARAMS, ROOT, Workspace
from tasks.inputs.build import InputsReport, build_inputs
from tasks.params import Params, load_params


@flow(name="inputs", persist_result=False)
def inputs(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Read the sources; says how many images were skipped and what to be wary of. The report has the details."""
    workspace = Workspace(root)
    with timed(workspace, "inputs"):
        report = read_sources(load_params(params), params.parent, workspace.inputs)
    for warning in report.warnings:
        output.print(f"warning: {warning}", markup=False)
    if report.skipped:
        output.print(f"{len(report.skipped)} input images were skipped; {workspace.inputs / 'report.json'} says why")


@station("read sources")
def read_sources(params: Params, base: Path, out: Path) -> InputsReport:
    with progress() as report:
        return build_inputs(params, base, out, partial(report, "reading images"))


if __name__ == "__main__":
    run_stage(inputs, "Read, check and split the photographs that the params name.")
