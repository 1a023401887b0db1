"""Selection at release: the candidates' scores and the thresholds in, one verdict a planned sample out.

Candidates keep their scores, so thresholds can be changed and applied again in seconds and without a GPU.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Verdict
from tasks.params import SelectParams

RULES = {
    "min_change_inside": "change_inside",
    "min_lpips_inside": "lpips_inside",
    "max_outside_abs": "outside_max_abs",
    "max_seam_contrast": "seam_contrast",
    "min_effective_share": "effective_share",
    "min_nearest_lpips": "nearest_lpips",
}
"""The SelectParams that judge a sample, in the order they are tried, and the value each is held against."""

_LAST_RULE = "min_nearest_lpips"
_COLUMNS = ("sample_id", "category", "index", "intended_area", "effective_area", "descriptor")
_BLOCK = 256


def select(scores: pd.DataFrame, params: SelectParams) -> list[Verdict]:
    """One verdict a row of `scores`, in the order of the rows.

    `scores` has the columns sample_id, category, index, descriptor (256 numbers a row) and the scores' keys; a row
    whose optional column `error` holds text is a failed sample. A minimum is met at or above its threshold, a maximum
    at or below; a missing value meets nothing. The first rule in the order of `RULES` that is not met is recorded with
    the value that broke it. The last one, distance to the nearest accepted sample of the same category, goes through
    the category in the order of `index`: a candidate nearer than the threshold to an earlier accepted one is
    rejected, so of each set of near-duplicates the first stays. The value of an accepted sample's verdict is that
    distance, infinite for the first of its category.

    Raises DefectoryError where a column is missing.
    """
    _check_columns(scores)
    failed = _failures(scores)
    values = _values(scores)
    broken = _first_broken(values, params)
    values[_LAST_RULE] = _nearest_by_category(scores, (broken == "") & (failed == ""), params.min_nearest_lpips)
    broken[(broken == "") & (values[_LAST_RULE] < params.min_nearest_lpips)] = _LAST_RULE
    return [
        _verdict(str(sample_id), str(error), str(rule), values[str(rule) or _LAST_RULE][row])
        for row, (sample_id, error, rule) in enumerate(zip(scores["sample_id"], failed, broken, strict=True))
    ]


def nearest_accepted(descriptors: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """The squared distance of each row (n, 256) to the nearest row accepted before it; infinite where there is none.

    A row is accepted when that distance is at least `threshold`. Matrix products over blocks of rows do the work.
    Descriptors are float16 values: their products and sums are exact in float64, so no thread count, block size or
    linear-algebra library can change a verdict.
    """
    nearest = np.full(len(descriptors), np.inf)
    accepted = np.zeros(len(descriptors), dtype=bool)
    for start in range(0, len(descriptors), _BLOCK):
        block = descriptors[start : start + _BLOCK]
        stop = start + len(block)
        nearest[start:stop] = _squared_distances(block, descriptors[accepted]).min(axis=1, initial=np.inf)
        within = _squared_distances(block, block)
        for row in range(start, stop):
            accepted[row] = nearest[row] >= threshold
            if accepted[row]:
                later = nearest[row + 1 : stop]
                np.minimum(later, within[row - start, row - start + 1 :], out=later)
    return nearest


def _check_columns(scores: pd.DataFrame) -> None:
    needed = {*_COLUMNS, *RULES.values()} - {"effective_share", "nearest_lpips"}
    missing = sorted(needed - set(scores.columns))
    if missing:
        raise DefectoryError(f"the candidates' scores lack {', '.join(missing)}; run generate again")


def _failures(scores: pd.DataFrame) -> NDArray[np.object_]:
    """The error text of each row, empty where the sample was made."""
    if "error" not in scores:
        return np.full(len(scores), "", dtype=object)
    return scores["error"].fillna("").astype(str).to_numpy(dtype=object)


def _values(scores: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """What each rule is held against, by the rule's name."""
    columns = scores.assign(effective_share=scores["effective_area"] / scores["intended_area"])
    return {rule: columns[column].to_numpy(dtype=np.float64) for rule, column in RULES.items() if rule != _LAST_RULE}


def _first_broken(values: dict[str, NDArray[np.float64]], params: SelectParams) -> NDArray[np.object_]:
    """The name of the first rule each row breaks, empty where it breaks none."""
    broken = np.full(len(next(iter(values.values()))), "", dtype=object)
    for rule, value in values.items():
        threshold = getattr(params, rule)
        met = value >= threshold if rule.startswith("min_") else value <= threshold
        broken[(broken == "") & ~met] = rule
    return broken


def _nearest_by_category(scores: pd.DataFrame, eligible: NDArray[np.bool_], threshold: float) -> NDArray[np.float64]:
    nearest = np.full(len(scores), np.nan)
    rows = scores.reset_index(drop=True)[eligible].sort_values("index", kind="stable")
    for _, group in rows.groupby("category", sort=False):
        descriptors = np.stack(group["descriptor"].to_list()).astype(np.float64)
        nearest[group.index] = nearest_accepted(descriptors, threshold)
    return nearest


def _squared_distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * first @ second.T, 0)


def _verdict(sample_id: str, error: str, rule: str, value: float) -> Verdict:
    if error:
        return Verdict(sample_id, "failed", error=error)
    return Verdict(sample_id, "rejected" if rule else "accepted", rule, float(value))
