"""Selection: each rule on a planted fault, and the search for near-duplicates against a plain one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import DefectoryError
from tasks.params import SelectParams
from tasks.quality.nearest import nearest_accepted
from tasks.quality.select import RULES, row_verdicts

PARAMS = SelectParams()
GOOD = {
    "change_inside": 30.0,
    "lpips_inside": 0.3,
    "outside_max_abs": 0.0,
    "seam_contrast": 1.1,
    "effective_share": 0.8,
}
FAULTS = [
    ("min_change_inside", {"change_inside": 5.9}, 5.9),
    ("min_lpips_inside", {"lpips_inside": 0.019}, 0.019),
    ("max_outside_abs", {"outside_max_abs": 1.0}, 1.0),
    ("max_seam_contrast", {"seam_contrast": 3.1}, 3.1),
    ("min_effective_share", {"effective_share": 0.2}, 0.2),
]


def descriptors(count: int, seed: int = 0, spread: float = 0.05) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(0, spread, (count, 256)).astype(np.float16))


def candidates(count: int, category: str = "bottle") -> pd.DataFrame:
    rows = [
        {"sample_id": f"{category}-{index:06d}", "category": category, "index": index, **GOOD} for index in range(count)
    ]
    return pd.DataFrame(rows).assign(descriptor=descriptors(count, seed=len(category)))


def plant(scores: pd.DataFrame, row: int, faults: dict[str, float]) -> None:
    for column, value in faults.items():
        scores.loc[row, column] = value


@pytest.mark.parametrize(("rule", "fault", "value"), FAULTS)
def test_a_planted_fault_is_rejected_by_its_rule_with_its_value(
    rule: str, fault: dict[str, float], value: float
) -> None:
    scores = candidates(4)
    plant(scores, 2, fault)
    verdicts = row_verdicts(scores, PARAMS)
    assert [verdict.status for verdict in verdicts] == ["accepted", "accepted", "rejected", "accepted"]
    assert verdicts[2].sample_id == "bottle-000002"
    assert verdicts[2].rule == rule
    assert verdicts[2].value == pytest.approx(value)


def test_every_rule_is_a_param_and_tried_in_a_fixed_order() -> None:
    assert [rule for rule, _, _ in FAULTS] + ["min_nearest_lpips"] == list(RULES)
    assert set(RULES) <= set(SelectParams.model_fields)
    for first in range(len(FAULTS)):
        scores = candidates(1)
        for _, fault, _ in FAULTS[first:]:
            plant(scores, 0, fault)
        assert row_verdicts(scores, PARAMS)[0].rule == FAULTS[first][0]


def test_thresholds_themselves_pass() -> None:
    scores = candidates(1)
    exactly = {"change_inside": 6.0, "lpips_inside": 0.02, "seam_contrast": 3.0}
    plant(scores, 0, exactly)
    assert row_verdicts(scores, PARAMS)[0].status == "accepted"


def test_a_missing_value_and_an_empty_mask_meet_no_rule() -> None:
    scores = candidates(2)
    plant(scores, 0, {"lpips_inside": math.nan})
    plant(scores, 1, {"effective_share": 0.0})
    assert [verdict.rule for verdict in row_verdicts(scores, PARAMS)] == ["min_lpips_inside", "min_effective_share"]


def test_of_duplicates_the_first_index_stays_whatever_the_order_of_rows() -> None:
    scores = candidates(5)
    scores.at[3, "descriptor"] = scores.at[1, "descriptor"]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        verdicts = row_verdicts(scores.iloc[order], PARAMS)
        assert [verdict.sample_id for verdict in verdicts] == [f"bottle-{index:06d}" for index in order]
        rejected = [verdict for verdict in verdicts if verdict.status == "rejected"]
        assert [(one.sample_id, one.rule, one.value) for one in rejected] == [("bottle-000003", "min_nearest_lpips", 0)]


def test_a_rejected_or_failed_sample_rejects_no_duplicate_of_itself() -> None:
    scores = candidates(3).assign(error=["", None, "the mask did not fit"])
    scores["descriptor"] = [scores.at[0, "descriptor"]] * 3
    plant(scores, 0, {"seam_contrast": 9.0})
    verdicts = row_verdicts(scores, PARAMS)
    assert [verdict.status for verdict in verdicts] == ["rejected", "accepted", "failed"]
    assert verdicts[2].error == "the mask did not fit"
    assert verdicts[2].rule == ""
    assert verdicts[1].value == math.inf


def test_failed_rows_need_no_scores() -> None:
    scores = candidates(2).assign(error=["", "out of masks"])
    scores.loc[1, list(GOOD)] = math.nan
    scores.at[1, "descriptor"] = None
    assert [verdict.status for verdict in row_verdicts(scores, PARAMS)] == ["accepted", "failed"]


def test_duplicates_in_different_categories_both_stay() -> None:
    bottles, tiles = candidates(3), candidates(3, "tile")
    tiles["descriptor"] = bottles["descriptor"]
    together = pd.concat([bottles, tiles])
    assert {verdict.status for verdict in row_verdicts(together, PARAMS)} == {"accepted"}


def test_an_accepted_value_is_the_distance_to_the_nearest_accepted_before() -> None:
    scores = candidates(2)
    first, second = (scores.at[row, "descriptor"].astype(np.float64) for row in (0, 1))
    verdicts = row_verdicts(scores, PARAMS)
    assert verdicts[0].value == math.inf
    assert verdicts[1].value == pytest.approx(np.square(first - second).sum(), rel=1e-12)


def test_no_candidates_give_no_verdicts() -> None:
    assert row_verdicts(candidates(1).iloc[:0], PARAMS) == []


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DefectoryError, match="seam_contrast"):
        row_verdicts(candidates(2).drop(columns="seam_contrast"), PARAMS)


@pytest.mark.parametrize("threshold", [0.0, 0.9, 1.3, 5.0])
def test_the_blocked_search_equals_a_plain_one(threshold: float) -> None:
    rows = np.stack(descriptors(600)).astype(np.float64)
    rows[300:310] = rows[5:15]
    nearest, kept = [], []
    for row in rows:
        nearest.append(min((float(np.square(row - other).sum()) for other in kept), default=math.inf))
        if nearest[-1] >= threshold:
            kept.append(row)
    assert (len(kept) == len(rows)) == (threshold == 0)
    assert nearest_accepted(rows, threshold) == pytest.approx(nearest, abs=1e-12)
