"""What the benchmarks of systems share before they begin: the systems by name, and the inputs."""

from __future__ import annotations

from pathlib import Path

from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import SPLITS, Inputs, read_inputs
from tasks.params import Params
from tasks.params.registry import SYSTEMS, entry_of
from tasks.progress import Report


def systems_named(names: str) -> list[str]:
    """Systems by names with commas between, all for an empty text. Raises DefectoryError for an unknown one."""
    systems = names.split(",") if names else list(SYSTEMS)
    for system in systems:
        entry_of(system)
    return systems


def read_or_build(params: Params, root: Path, folder: Path, report: Report) -> Inputs:
    """The inputs in `folder`, built there from the sources below `root` where they are not yet."""
    if not (folder / SPLITS).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        build_inputs(params, root, folder, lambda done, total: report("reading the inputs", done, total))
    return read_inputs(folder)
