"""`defectory diff`: what changed between two versions, as tables on the terminal and as pictures.

In: two tags, or two releases' folders. Out: tables; in `out`, where it is given, sheets of added, removed and changed
samples and the list of all of them.

On the terminal what is equal is said in a line, and what differs has its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from flows.terminal import output
from flows.versions.version_files import VersionFiles, open_version, read_released, read_released_pictures
from tasks.contracts import Image, Mask
from tasks.files.atomic import write_atomic
from tasks.release.diff import COMPARED_QUANTILES, Diff, Pair, Released, changed_keys, compare_releases, draw_pairs
from tasks.release.sheets import encode_sheet
from tasks.seeds import choose
from tasks.wording import first_few

SHOWN = 18
"""Samples on a sheet."""
"""Samples named on the terminal."""
_LONG = 40
"""Characters of a value; a hash has more."""


@dataclass(frozen=True)
class _Side:
    files: VersionFiles
    released: Released

    def rows(self, chosen: Sequence[str]) -> pd.DataFrame:
        return self.released.manifest.set_index("sample_id", drop=False).loc[list(chosen)]

    def pictures(self, chosen: Sequence[str]) -> dict[str, tuple[Image, Mask]]:
        return read_released_pictures(self.files, self.rows(chosen))


def diff_here(before: str, after: str, repo: str, out: Path | None) -> None:
    """Show the difference. Raises DefectoryError where one of the two cannot be read."""
    old, new = (_open(name, repo) for name in (before, after))
    found = compare_releases(old.released, new.released)
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


def show_diff(before: str, after: str, found: Diff, settings: pd.DataFrame | None) -> None:
    """`settings` are the params and the code's version that differ; None where they are not known of both."""
    output.print(f"{before} -> {after}", markup=False, style="bold")
    _show_samples(found)
    _show_counts("samples", found.counts, ["what", "value"])
    _show_counts("the ledger", found.fates, ["fate"])
    _show_scores(found.scores)
    _show_values("figures that differ", found.metrics)
    if settings is None:
        output.print("params and code: a release's folder does not hold them; give two tags to compare them")
    elif settings.empty:
        output.print("params and code: equal")
    else:
        _show_values("params and code that differ", settings)


def _show_samples(found: Diff) -> None:
    for kind, names in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        listed = ", ".join(first_few(names))
        output.print(f"{len(names)} {kind}{': ' if names else ''}{listed}", markup=False)
    output.print(f"{found.same} the same, byte for byte")


def _show_counts(title: str, counts: pd.DataFrame, names: Sequence[str]) -> None:
    table = _table(title, *names, "before", "after", "change", right_from=len(names))
    last = None
    for row in counts.to_dict("records"):
        labels = [_text(row[name]) for name in names]
        if len(names) > 1 and last == labels[0]:
            labels[0] = ""
        elif len(names) > 1:
            table.add_section()
            last = labels[0]
        table.add_row(*labels, str(row["before"]), str(row["after"]), _change(row["after"] - row["before"]))
    output.print(table)


def _show_scores(scores: pd.DataFrame) -> None:
    heads = ["median" if quantile == 0.5 else f"{quantile:.0%}" for quantile in COMPARED_QUANTILES]
    columns = [f"{name} {head}" for name in ("before", "after") for head in heads]
    table = _table("scores: median and quantiles", "score", *columns)
    for score, group in scores.groupby("score", sort=False):
        numbers = [*group["before"], *group["after"]]
        table.add_row(str(score), *("-" if pd.isna(number) else f"{number:.3g}" for number in numbers))
    output.print(table)


def _show_values(title: str, values: pd.DataFrame) -> None:
    if values.empty:
        return
    table = _table(title, "", "before", "after", right_from=9)
    for row in values.to_dict("records"):
        table.add_row(_text(row["name"]), _text(row["before"]), _text(row["after"]))
    output.print(table)


def _change(difference: int) -> str:
    return f"[bold]{difference:+d}[/]" if difference else "="


def _text(value: Any) -> str:
    text = "-" if value is None else str(value)
    return escape(text if len(text) <= _LONG else f"{text[:12]}…")


def _table(title: str, *columns: str, right_from: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if place >= right_from else "left")
    return table
