"""Inputs: read every source of the params, check, split without leaks, hash. Out: `<root>/inputs`.

Sources whose every byte is as it was when the inputs were made are not read again.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from prefect import flow

from flows.line.lock import exclusive
from flows.line.stage import run_stage
from flows.line.timing import record_wall
from flows.policy import station
from flows.terminal import output, progress
from tasks.files.hashing import file_sha256
from tasks.files.products import is_made, mark_made
from tasks.inputs.build import InputsReport, build_inputs
from tasks.inputs.dataset import SPLITS
from tasks.inputs.readers import list_source
from tasks.params import CODE_VERSION, Params, fingerprint, load_params
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="inputs", persist_result=False)
@exclusive
def inputs(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Read the sources; says how many images were skipped and what to be wary of. The report has the details."""
    workspace, wanted, start = Workspace(root), load_params(params), time.perf_counter()
    made_from = fingerprint_of_sources(wanted, params.parent)
    if is_made(workspace.inputs / SPLITS, made_from):
        return
    report = read_sources(wanted, params.parent, workspace.inputs)
    mark_made(workspace.inputs / SPLITS, made_from)
    record_wall(workspace, "inputs", start)
    for warning in report.warnings:
        output.print(f"warning: {warning}", markup=False)
    if report.skipped:
        output.print(f"{len(report.skipped)} input images were skipped; {workspace.inputs / 'report.json'} says why")


def fingerprint_of_sources(params: Params, base: Path) -> str:
    """Of all that the inputs are made from: the params, every source file's bytes, and the code's version."""
    images = [image for source in params.inputs.sources for image in list_source(source, base).images]
    files = [(image.image_id, path) for image in images for path in (image.file, image.mask_file) if path]
    hashes = [(image_id, file_sha256(path) if path.is_file() else "") for image_id, path in files]
    return fingerprint(CODE_VERSION, params.inputs, params.dataset.image_size, params.dataset.seed, hashes)


@station("read sources")
def read_sources(params: Params, base: Path, out: Path) -> InputsReport:
    with progress() as report:
        return build_inputs(params, base, out, partial(report, "reading images"))


if __name__ == "__main__":
    run_stage(inputs, "Read, check and split the photographs that the params name.", uses_model=False)
