"""Resolve: params.yaml with every default filled in, the code's version and the sources' hash, for dvc to compare.

In: params.yaml. Out: `resolved.json`, one block a station. Why: dvc compares values in a file, but a block
that params.yaml leaves out has its values in the code. A new default, or code that makes other bytes, must
re-run a stage as surely as an edited value does; so must other photographs. It runs in each `dvc repro`, for seconds.
"""

from __future__ import annotations

from pathlib import Path

from flows.terminal import exit_with
from flows.versions.repository import RESOLVED
from tasks.files.json_text import write_json
from tasks.inputs.readers import sources_sha256
from tasks.params import CODE_VERSION, load_params
from tasks.synthesis import used_systems


def resolve(params: Path, out: Path) -> None:
    """Write the file. Raises DefectoryError naming each bad key of the params."""
    wanted = load_params(params)
    sources = sources_sha256(wanted.inputs, params.parent)
    systems = {name: wanted.system(name).model_dump(mode="json") for name in used_systems(wanted)}
    blocks = {**wanted.model_dump(mode="json"), "systems": systems, "code": CODE_VERSION, "sources": sources}
    write_json(out, blocks)


if __name__ == "__main__":
    exit_with(lambda: resolve(Path("params.yaml"), Path(RESOLVED)))
