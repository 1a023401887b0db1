"""Make one released sample again, alone, from its row of the manifest, and prove that the bytes are the same.

In: a sample's name and the workspace of its version. Out: its encoded image and mask, beside the manifest's hashes.
The real stations do it, without a server; whatever is not as it was is named before anything is painted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from flows.policy import device
from flows.terminal import output
from flows.versions.repository import git
from tasks.contracts import DefectoryError, SampleSpec
from tasks.files.atomic import write_atomic
from tasks.files.hashing import sha256
from tasks.files.pictures import IMAGE_ENDING, MASK_ENDING, encode_image, encode_mask
from tasks.generation.line import Line, make, masks
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.params import Params, load_params
from tasks.release.remake import differences, read_row, spec_of
from tasks.versions.locked import RELEASE, outputs_of
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Remade:
    """One sample's bytes, encoded as in a release."""

    image: bytes
    mask: bytes


def remake_here(sample_id: str, params: Path, root: Path, out: Path | None) -> None:
    """Make the sample again, show both hashes, and write it to `out`, its mask beside it.

    Raises DefectoryError where it cannot be made here, or where other bytes came out.
    """
    _check_ending(out)
    workspace = Workspace(root)
    row = read_row(workspace.release, sample_id)
    made = remake(row, load_params(params), workspace, device())
    hashes = {"image": sha256(made.image), "mask": sha256(made.mask)}
    _show(row, hashes)
    if out is not None:
        write_atomic(out, made.image)
        write_atomic(out.with_name(f"{out.stem}_mask{MASK_ENDING}"), made.mask)
    if others := [name for name, got in hashes.items() if got != row[f"{name}_sha256"]]:
        raise DefectoryError(
            f"{sample_id}: {' and '.join(others)} came out with other bytes, from the same params, inputs and models; "
            "the bytes are promised on the same hardware with the pinned libraries: make it again there"
        )
    output.print(f"{sample_id}: image and mask are the released ones, byte for byte", markup=False)


def remake(row: Mapping[str, Any], params: Params, workspace: Workspace, device: torch.device) -> Remade:
    """The sample of a row of the manifest, painted alone. Raises DefectoryError naming all that is not as it was."""
    inputs = read_inputs(workspace.inputs)
    _check_origin(row, params, inputs, workspace)
    return _make(Line(params, inputs, workspace.models, device), spec_of(row))


def _check_origin(row: Mapping[str, Any], params: Params, inputs: Inputs, workspace: Workspace) -> None:
    different = list(differences(row, params, inputs, workspace.models))
    if different:
        tag = _tag_of(workspace) or "TAG"
        raise DefectoryError(
            "\n  ".join([f"{row['sample_id']} was made from something else than what is here:", *different])
            + f"\nThe version's own: git checkout {tag} && dvc pull data/inputs data/models"
        )


def _make(line: Line, spec: SampleSpec) -> Remade:
    drawn = masks(line, [spec])
    if drawn.failures:
        raise DefectoryError(drawn.failures[0].error)
    scored = make(line, drawn.places)
    return Remade(encode_image(scored.finished.images[0]), encode_mask(scored.scores[0].effective_mask))


def _tag_of(workspace: Workspace) -> str | None:
    """The tag whose release has as many files and bytes as the one here; None without any."""
    files = [path for path in workspace.release.rglob("*") if path.is_file()]
    here = len(files), sum(path.stat().st_size for path in files)
    repo = workspace.root.resolve().parent
    try:
        outputs = {tag: outputs_of(repo, tag).get(RELEASE) for tag in git(repo, "tag", "--list").split()}
    except DefectoryError:
        return None
    return next((tag for tag, held in outputs.items() if held and (held.files, held.size) == here), None)


def _show(row: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    table = Table(title=f"{row['sample_id']}, painted by {row['method']}", title_justify="left")
    for column in ("", "expected SHA-256", "got", "equal"):
        table.add_column(column)
    for name, got in hashes.items():
        expected = row[f"{name}_sha256"]
        table.add_row(name, expected[:16], got[:16], "[green]yes[/]" if got == expected else "[red]no[/]")
    output.print(table)


def _check_ending(out: Path | None) -> None:
    if out is not None and out.suffix != IMAGE_ENDING:
        raise DefectoryError(f"--out {out}: expected a name ending in {IMAGE_ENDING}, which a release's images are")
