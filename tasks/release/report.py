"""The report: one HTML file with figures, sheets and all that did not go well, and nothing to load from elsewhere.

In: facts, contact sheets, pseudo-masks. Out: text with every picture inlined. It holds no date, so that the same
release has the same report.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq

from tasks.quality.select import rules_in_force
from tasks.release.diversity import diversity_names
from tasks.release.histogram import histogram
from tasks.release.manifest import ACCEPTED, FAILED, REJECTED
from tasks.release.metrics import score_key
from tasks.release.rule_examples import RuleExamples
from tasks.release.summary import Facts
from tasks.release.templates import render
from tasks.seeds import choose

SHEET_QUALITY = 86
"""Of a contact sheet's JPEG in the page."""

_PSEUDO_A_CATEGORY = 8
_PSEUDO_SIDE = 144
_MOST_FAILURES = 50

_MEASURES = (
    ("change_inside", "Change inside the mask, grey levels"),
    ("lpips_inside", "LPIPS inside the mask"),
    ("lpips_to_clean", "LPIPS to the clean image"),
    ("seam_contrast", "Contrast along the seam"),
    ("effective_share", "Share of the intended mask that changed"),
    ("nearest_lpips", "Estimated LPIPS to the nearest accepted"),
    ("nearest_real_lpips", "Estimated LPIPS to the nearest real image"),
    ("strength", "Strength asked for"),
    ("intended_area", "Intended area, share of the image"),
)


@dataclass(frozen=True)
class ShownPseudoMask:
    """A defective image whose mask was estimated, as three inlined pictures."""

    caption: str
    image: str
    anomaly: str
    mask: str


def build_report(facts: Facts, sheets: Mapping[str, str], rules: Sequence[RuleExamples]) -> str:
    """The page as HTML. `sheets` are URLs by category (see `data_uri`), `rules` as `tasks.release.rule_examples` has
    them."""
    failed = facts.judged[facts.judged["status"] == FAILED]
    return render(
        "report.html",
        {
            "facts": facts,
            "score_key": score_key(facts.params),
            "diversity": diversity_names(facts.params),
            "histograms": _histograms(facts),
            "rules": rules,
            "picture": lambda example: data_uri(example.picture, 80),
            "sheets": sheets,
            "pseudo_masks": shown_pseudo_masks(facts.pseudo_masks),
            "failures": list(zip(failed["sample_id"], failed["error"], strict=True))[:_MOST_FAILURES],
        },
    )


def shown_pseudo_masks(path: Path) -> list[ShownPseudoMask]:
    """Some of the pseudo-masks of every category, chosen by hash; none where there is no such file."""
    if not path.is_file():
        return []
    rows = {row["image_id"]: row for row in pq.ParquetFile(path).read().to_pylist()}
    by_category: dict[str, list[str]] = {}
    for image_id in sorted(rows):
        by_category.setdefault(rows[image_id]["category"], []).append(image_id)
    chosen = (image_id for ids in by_category.values() for image_id in choose(ids, _PSEUDO_A_CATEGORY))
    return [_pseudo_mask(rows[image_id]) for image_id in chosen]


def data_uri(picture: PIL.Image.Image, quality: int) -> str:
    """A picture as a JPEG inside a URL."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pseudo_mask(row: Mapping[str, str | bytes]) -> ShownPseudoMask:
    pictures = [_thumbnail(row[name]) for name in ("image", "anomaly", "mask")]
    return ShownPseudoMask(str(row["image_id"]), *pictures)


def _thumbnail(data: str | bytes) -> str:
    assert isinstance(data, bytes)
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return data_uri(picture.convert("RGB").resize((_PSEUDO_SIDE, _PSEUDO_SIDE)), 80)


def _histograms(facts: Facts) -> Sequence[str]:
    rules = rules_in_force(facts.params.select)
    thresholds = {measure: float(getattr(facts.params.select, rule)) for rule, measure in rules.items()}
    by_status = {status: facts.judged[facts.judged["status"] == status] for status in (ACCEPTED, REJECTED)}
    drawn = (
        histogram(
            title,
            by_status[ACCEPTED][measure].to_numpy(dtype=np.float64),
            by_status[REJECTED][measure].to_numpy(dtype=np.float64),
            thresholds.get(measure),
        )
        for measure, title in _MEASURES
    )
    return [svg for svg in drawn if svg]
