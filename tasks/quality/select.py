"""Selection at release: the candidates' scores and the thresholds in, one verdict a planned sample out.

Candidates keep their scores, so thresholds can be changed and applied again in seconds and without a GPU.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Verdict
from tasks.params import SelectParams
from tasks.quality.nearest import nearest_accepted

RULES = {
    "min_change_inside": "change_inside",
    "min_lpips_inside": "lpips_inside",
    "max_outside_abs": "outside_max_abs",
    "max_seam_contrast": "seam_contrast",
    "min_effective_share": "effective_share",
    "min_nearest_lpips": "nearest_lpips",
}
"""The SelectParams that judge a sample, in the order they are tried, and the value each is held against."""

COPY_RULE, COPY_MEASURE = "min_nearest_real_lpips", "nearest_real_lpips"
"""A rule that is off at 0, and tried just before the last one."""

_LAST_RULE = "min_nearest_lpips"
_COLUMNS = ("sample_id", "category", "index", "descriptor")


def rules_in_force(params: SelectParams) -> dict[str, str]:
    """The rules that these thresholds leave on, in the order they are tried, and the value each is held against."""
    before_last = {rule: column for rule, column in RULES.items() if rule != _LAST_RULE}
    copies = {COPY_RULE: COPY_MEASURE} if params.min_nearest_real_lpips > 0 else {}
    return {**before_last, **copies, _LAST_RULE: RULES[_LAST_RULE]}


def row_verdicts(scores: pd.DataFrame, params: SelectParams) -> list[Verdict]:
    """One verdict a row of `scores`, in the order of the rows; `judge_rows` as objects."""
    judged = judge_rows(scores, params)
    rows = zip(scores["sample_id"], judged["status"], judged["rule"], judged["value"], _failures(scores), strict=True)
    return [Verdict(str(name), status, rule, value, error) for name, status, rule, value, error in rows]


def judge_rows(scores: pd.DataFrame, params: SelectParams) -> pd.DataFrame:
    """The columns status, rule and value, a row for each of `scores` and with its index.

    `scores` has the columns sample_id, category, index, descriptor (256 numbers a row) and the scores' keys; a row
    whose optional column `error` holds text is a failed sample. A minimum is met at or above its threshold, a maximum
    at or below; a missing value meets nothing. The first rule in the order of `rules_in_force` that is not met is
    recorded with the value that broke it. The last one, distance to the nearest accepted sample of the same category,
    goes through the category in the order of `index`: a candidate nearer than the threshold to an earlier accepted one
    is rejected, so of each set of near-duplicates the first stays. The value of an accepted sample's verdict is that
    distance, infinite for the first of its category.

    Raises DefectoryError where a column is missing.
    """
    rules = rules_in_force(params)
    _check_columns(scores, rules)
    failed = _failures(scores) != ""
    values = _values(scores, rules)
    broken = _first_broken(values, params)
    nearest = _nearest_by_category(scores, (broken == "") & ~failed, params.min_nearest_lpips)
    broken[(broken == "") & ~meets(_LAST_RULE, nearest, params) & ~failed] = _LAST_RULE
    broken[failed] = ""
    recorded = nearest.copy()
    for rule, value in values.items():
        recorded[broken == rule] = value[broken == rule]
    status = np.where(failed, "failed", np.where(broken == "", "accepted", "rejected")).astype(object)
    return pd.DataFrame({"status": status, "rule": broken, "value": recorded}, index=scores.index)


def meets(rule: str, values: NDArray[np.float64], params: SelectParams) -> NDArray[np.bool_]:
    """Whether each value meets the rule; one that is missing does not."""
    threshold = getattr(params, rule)
    return np.asarray(values >= threshold if rule.startswith("min_") else values <= threshold)


def _check_columns(scores: pd.DataFrame, rules: dict[str, str]) -> None:
    needed = {*_COLUMNS, *rules.values()} - {"nearest_lpips"}
    missing = sorted(needed - set(scores.columns))
    if missing:
        raise DefectoryError(f"the candidates' scores lack {', '.join(missing)}; run generate again")


def _failures(scores: pd.DataFrame) -> NDArray[np.object_]:
    """The error text of each row, empty where the sample was made."""
    if "error" not in scores:
        return np.full(len(scores), "", dtype=object)
    return scores["error"].fillna("").astype(str).to_numpy(dtype=object)


def _values(scores: pd.DataFrame, rules: dict[str, str]) -> dict[str, NDArray[np.float64]]:
    """What each rule but the last is held against, by the rule's name."""
    measured = {rule: column for rule, column in rules.items() if rule != _LAST_RULE}
    return {rule: scores[column].to_numpy(dtype=np.float64) for rule, column in measured.items()}


def _first_broken(values: dict[str, NDArray[np.float64]], params: SelectParams) -> NDArray[np.object_]:
    """The name of the first rule each row breaks, empty where it breaks none."""
    broken = np.full(len(next(iter(values.values()))), "", dtype=object)
    for rule, value in values.items():
        broken[(broken == "") & ~meets(rule, value, params)] = rule
    return broken


def _nearest_by_category(scores: pd.DataFrame, eligible: NDArray[np.bool_], threshold: float) -> NDArray[np.float64]:
    nearest = np.full(len(scores), np.nan)
    rows = scores[["category", "index", "descriptor"]].reset_index(drop=True)[eligible]
    for _, group in rows.sort_values("index", kind="stable").groupby("category", sort=False):
        descriptors = np.stack(group["descriptor"].to_list()).astype(np.float64)
        nearest[group.index] = nearest_accepted(descriptors, threshold)
    return nearest
