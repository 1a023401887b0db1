"""`defectory diff`: what changed between two versions, as tables on the terminal and as pictures.

In: two tags, or two releases' folders. Out: tables; in `out`, where it is given, sheets of added, removed and changed
samples and the list of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flows.diff_tables import show_diff
from flows.terminal import output
from flows.versions.version_files import VersionFiles, open_version, read_pictures, read_released
from tasks.contracts import Image, Mask
from tasks.files.atomic import write_atomic
from tasks.release.diff import Diff, Pair, Released, changed_keys, compare, draw_pairs
from tasks.release.sheets import encode_sheet
from tasks.seeds import choose

SHOWN = 18
"""Samples on a sheet."""


@dataclass(frozen=True)
class _Side:
    files: VersionFiles
    released: Released

    def rows(self, chosen: Sequence[str]) -> pd.DataFrame:
        return self.released.manifest.set_index("sample_id", drop=False).loc[list(chosen)]

    def pictures(self, chosen: Sequence[str]) -> dict[str, tuple[Image, Mask]]:
        return read_pictures(self.files, self.rows(chosen))


def diff_here(before: str, after: str, repo: str, out: Path | None) -> None:
    """Show the difference. Raises DefectoryError where one of the two cannot be read."""
    old, new = (_open(name, repo) for name in (before, after))
    found = compare(old.released, new.released)
    settings = [side.files.settings for side in (old, new)]
    known = [each for each in settings if each is not None]
    show_diff(before, after, found, changed_keys(*known) if len(known) == 2 else None)
    if out is not None:
        _write(out, found, old, new)


def _open(name: str, repo: str) -> _Side:
    files = open_version(name, repo)
    return _Side(files, read_released(files))


def _write(out: Path, found: Diff, old: _Side, new: _Side) -> None:
    kinds = {"added": found.added, "removed": found.removed, "changed": found.changed}
    rows = [(name, kind) for kind, names in kinds.items() for name in names]
    table = pd.DataFrame(rows, columns=["sample_id", "change"])
    write_atomic(out / "samples.csv", table.to_csv(index=False).encode())
    output.print(f"every such sample: {out / 'samples.csv'}", markup=False)
    for kind, names in kinds.items():
        chosen = choose(names, SHOWN)
        if chosen:
            title = f"{kind}: {len(chosen)} of {len(names)} samples, {old.files.name} to {new.files.name}"
            _write_sheet(out / f"{kind}.png", title, kind, chosen, old, new)


def _write_sheet(path: Path, title: str, kind: str, chosen: Sequence[str], old: _Side, new: _Side) -> None:
    if kind == "changed":
        earlier, later = old.pictures(chosen), new.pictures(chosen)
        headings, shown = ("before", "after"), {name: (earlier[name][0], later[name][0]) for name in chosen}
    else:
        found = (old if kind == "removed" else new).pictures(chosen)
        headings, shown = ("image", "mask"), {name: (image, _as_image(mask)) for name, (image, mask) in found.items()}
    facts = (old if kind == "removed" else new).rows(chosen)
    captions = facts["defect_type"] + ", " + facts["method"]
    pairs = [Pair(name, captions[name], *shown[name]) for name in chosen]
    write_atomic(path, encode_sheet(draw_pairs(title, headings, pairs)))
    output.print(f"{kind} samples: {path}", markup=False)


def _as_image(mask: Mask) -> Image:
    return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
