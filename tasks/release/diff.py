"""What changed between two releases, in tables: counts, scores, rules, metrics and samples.

In: manifest, ledger and metrics of either. Out: data frames, each with a column `before` and one `after`. Pure: where
the two come from, and how they are shown, is the business of others.

A contact sheet shows two pictures a sample, side by side under its name; which samples, a hash of their names decides
(see `tasks.seeds.choose`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import PIL.Image
from PIL import ImageDraw, ImageFont

from tasks.contracts import Image

COUNTED = ("category", "defect_type", "method", "mask_source", "license", "source", "model_sha256")
"""The columns of a manifest whose values are counted."""

COMPARED_SCORES = (
    "strength",
    "intended_area",
    "effective_area",
    "lpips_to_clean",
    "nearest_lpips",
    "nearest_real_lpips",
    "outside_max_abs",
    "class_confidence",
    "class_entropy",
)
"""The columns of a manifest whose distributions are compared."""

COMPARED_QUANTILES = (0.1, 0.5, 0.9)
_TILE, _GAP, _LINE, _MARGIN, _ACROSS = 160, 4, 16, 14, 3
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 115)
_WIDTH, _HEIGHT = 2 * (_TILE + _GAP) + 3 * _GAP, _TILE + 2 * _LINE + 2 * _GAP
"""Of a pair with its captions."""


@dataclass(frozen=True)
class Released:
    """What is known of one release without opening a shard."""

    manifest: pd.DataFrame
    ledger: pd.DataFrame
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Diff:
    """Everything that two releases differ in. Tables have the columns `before` and `after` beside those named."""

    counts: pd.DataFrame
    """Samples by `what` (see COUNTED) and `value`; every value of either release is there, changed or not."""
    scores: pd.DataFrame
    """By `score` and `quantile`; NaN where a release has no such score."""
    fates: pd.DataFrame
    """Rows of the ledger by `fate`: accepted, failed, rejected by each rule, and inputs that were skipped."""
    metrics: pd.DataFrame
    """Figures of the whole release by `name`, where they are not equal."""
    added: tuple[str, ...]
    """Samples of the later release alone, sorted as the next two are."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Samples of both whose image or mask has other bytes."""
    same: int


def compare_releases(before: Released, after: Released) -> Diff:
    """The difference of two releases, of the same dataset or not."""
    hashes = ["image_sha256", "mask_sha256"]
    old, new = (release.manifest.set_index("sample_id")[hashes] for release in (before, after))
    both = old.index.intersection(new.index)
    changed = both[(old.loc[both] != new.loc[both]).any(axis=1)]
    return Diff(
        counts=_counts(before.manifest, after.manifest),
        scores=_scores(before.manifest, after.manifest),
        fates=_side_by_side(_fates(before.ledger), _fates(after.ledger), ["fate"]),
        metrics=_unequal(before.metrics, after.metrics),
        added=tuple(sorted(new.index.difference(old.index))),
        removed=tuple(sorted(old.index.difference(new.index))),
        changed=tuple(sorted(changed)),
        same=len(both) - len(changed),
    )


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> pd.DataFrame:
    """The keys of two nested mappings, joined by dots, whose values are not equal: `name`, `before`, `after`.

    A key that one of them lacks has None there.
    """
    old, new = (_flat(mapping) for mapping in (before, after))
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    rows = [(name, old.get(name), new.get(name)) for name in names]
    return pd.DataFrame(rows, columns=["name", "before", "after"], dtype=object)


def _flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    rows = pd.json_normalize(dict(mapping)).to_dict("records") if mapping else [{}]
    return {str(name): value for name, value in rows[0].items()}


def _unequal(before: Mapping[str, Any], after: Mapping[str, Any]) -> pd.DataFrame:
    """Of plain figures alone: those by category and by rule are counted elsewhere."""
    plain = [{name: value for name, value in m.items() if not isinstance(value, dict)} for m in (before, after)]
    return changed_keys(*plain)


def _counts(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    tables = []
    for what in COUNTED:
        old, new = (manifest[what].rename("value").value_counts() for manifest in (before, after))
        tables.append(_side_by_side(old, new, ["value"]).assign(what=what))
    return pd.concat(tables, ignore_index=True)[["what", "value", "before", "after"]]


def _fates(ledger: pd.DataFrame) -> pd.Series:
    rules = ("rejected by " + ledger["rule"]).where(ledger["status"] == "rejected", ledger["status"])
    return rules.rename("fate").value_counts()


def _side_by_side(before: pd.Series, after: pd.Series, names: list[str]) -> pd.DataFrame:
    table = pd.concat({"before": before, "after": after}, axis=1).fillna(0).astype(int)
    return table.sort_index().rename_axis(names).reset_index()


def _scores(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    return _quantiles(before).rename(columns={"value": "before"}).assign(after=_quantiles(after)["value"])


def _quantiles(manifest: pd.DataFrame) -> pd.DataFrame:
    """`score`, `quantile` and `value`; NaN for a score that an earlier version's manifest lacks."""
    scores = manifest.reindex(columns=list(COMPARED_SCORES)).astype(float)
    return (
        scores.quantile(list(COMPARED_QUANTILES))
        .rename_axis("quantile")
        .reset_index()
        .melt("quantile", var_name="score")
    )


@dataclass(frozen=True)
class Pair:
    """One sample as the sheet shows it. Its pictures are of one size."""

    name: str
    caption: str
    left: Image
    right: Image


def draw_pairs(title: str, headings: tuple[str, str], pairs: Sequence[Pair]) -> PIL.Image.Image:
    """The sheet, an RGB picture; `headings` say what the left and the right pictures are."""
    across = min(_ACROSS, len(pairs))
    height = 2 * _MARGIN + 3 * _LINE + -(-len(pairs) // _ACROSS) * _HEIGHT
    title_width = int(_font(18).getlength(title))
    sheet = PIL.Image.new("RGB", (2 * _MARGIN + max(across * _WIDTH, title_width), height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, _INK, _font(18))
    for column in range(across):
        for place, heading in enumerate(headings):
            left = _MARGIN + column * _WIDTH + place * (_TILE + _GAP)
            pen.text((left, _MARGIN + 2 * _LINE), heading, _FAINT, _font(11))
    for number, pair in enumerate(pairs):
        left = _MARGIN + number % _ACROSS * _WIDTH
        _draw_pair(sheet, left, _MARGIN + 3 * _LINE + number // _ACROSS * _HEIGHT, pair)
    return sheet


def _draw_pair(sheet: PIL.Image.Image, left: int, top: int, pair: Pair) -> None:
    for place, picture in enumerate((pair.left, pair.right)):
        tile = PIL.Image.fromarray(picture).resize((_TILE, _TILE), PIL.Image.Resampling.LANCZOS)
        sheet.paste(tile, (left + place * (_TILE + _GAP), top))
    pen = ImageDraw.Draw(sheet)
    pen.text((left, top + _TILE + 1), pair.name, _INK, _font(11))
    pen.text((left, top + _TILE + _LINE - 1), pair.caption, _FAINT, _font(11))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no machine's fonts show."""
    return ImageFont.load_default(size)
