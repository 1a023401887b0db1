"""Counts and pictures of each rule: planted values on both sides of a threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.candidates.read import read_scores
from tasks.contracts import DefectoryError
from tasks.quality.nearest_real import nearest_real, read_real_descriptors
from tasks.quality.real_descriptors import write_real_descriptors
from tasks.quality.select import COPY_RULE, RULES
from tasks.release.judge import judge_scores
from tasks.release.rule_examples import RuleExamples, examples_of, nearest_to, outlined
from tasks.seeds import choose
from tests.factories import Workspace, make_params, make_workspace

FAILED, FAINT = frozenset({"mono-000003"}), frozenset({"mono-000005", "mono-000006"})
MAGENTA = (255, 0, 200)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    params = make_params(64, samples=20, shard_size=10)
    made = make_workspace(tmp_path_factory.mktemp("work"), params, failed=FAILED, faint=FAINT)
    write_real_descriptors(made.inputs, made.candidates)
    return made


def judged(workspace: Workspace, planted: dict[str, dict[str, float]], **select: float) -> pd.DataFrame:
    scores = read_scores(workspace.candidates, workspace.plans).set_index("sample_id", drop=False)
    for sample_id, values in planted.items():
        for column, value in values.items():
            scores.loc[sample_id, column] = value
    params = workspace.params.model_copy(update={"select": workspace.params.select.model_copy(update=select)})
    real = read_real_descriptors(workspace.candidates, workspace.inputs.sha256)
    return judge_scores(scores.reset_index(drop=True), params, real)


def examples(workspace: Workspace, table: pd.DataFrame, **select: float) -> dict[str, RuleExamples]:
    limits = workspace.params.select.model_copy(update=select)
    found = examples_of(limits, table, workspace.inputs, workspace.candidates)
    return {rule.rule: rule for rule in found}


def test_a_rule_counts_what_breaks_it_and_what_it_rejected_first(workspace: Workspace) -> None:
    planted = {
        "mono-000000": {"seam_contrast": 9.0},
        "mono-000005": {"seam_contrast": 9.0},  # faint too, and faintness is tried before
        "poly-000002": {"seam_contrast": 3.5},
        "mono-000003": {"seam_contrast": 9.0},  # failed: it was never painted
    }
    rule = examples(workspace, judged(workspace, planted))["max_seam_contrast"]
    assert (rule.alone, rule.first) == (3, 2)
    assert [(one.sample_id, one.value) for one in rule.rejected] == [("poly-000002", 3.5), ("mono-000000", 9.0)]
    assert len(rule.accepted) == 6
    values = sorted(one.value for one in rule.accepted)
    table = judged(workspace, planted)
    assert values == sorted(table.loc[table["status"] == "accepted", "seam_contrast"])[-6:]


def test_every_rule_is_shown_and_near_ones_with_what_they_are_near_to(workspace: Workspace) -> None:
    found = examples(workspace, judged(workspace, {}))
    assert list(found) == [*RULES, COPY_RULE]
    real = {image.image_id for image in workspace.inputs.images}
    copies, duplicates = found[COPY_RULE], found["min_nearest_lpips"]
    assert (copies.alone, copies.first, len(copies.accepted)) == (0, 0, 6)
    assert {one.near for one in copies.accepted} <= real
    table = judged(workspace, {}).set_index("sample_id")
    for one in duplicates.accepted:
        pair = np.stack(table.loc[[one.sample_id, one.near], "descriptor"].to_list()).astype(np.float64)
        assert np.square(pair[0] - pair[1]).sum() == pytest.approx(one.value)
        assert int(one.near[-6:]) < int(one.sample_id[-6:])
    assert copies.accepted[0].picture.width == 2 * copies.accepted[0].picture.height + 3
    assert found["max_seam_contrast"].accepted[0].picture.width == copies.accepted[0].picture.height


def test_the_same_candidates_give_the_same_pictures(workspace: Workspace) -> None:
    table = judged(workspace, {})
    once, again = (examples(workspace, given) for given in (table, table.sample(frac=1, random_state=0)))
    for rule, found in once.items():
        pairs = zip(found.accepted, again[rule].accepted, strict=True)
        assert all(a.sample_id == b.sample_id and a.picture.tobytes() == b.picture.tobytes() for a, b in pairs)


def test_of_equally_near_samples_a_hash_of_names_decides() -> None:
    names = [f"a-{number:06d}" for number in range(30)]
    samples = pd.DataFrame({"sample_id": names, "score": [0.5, np.inf, np.nan, *[1.0] * 27]})
    chosen = nearest_to(0.0, samples, "score")["sample_id"]
    assert list(chosen) == ["a-000000", *sorted(choose(names[3:], 5))]


def test_the_line_goes_around_the_mask_and_hides_nothing_of_it() -> None:
    image, mask = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    drawn = np.asarray(outlined(image, mask))
    line = (drawn == MAGENTA).all(axis=2)
    inside = np.kron(mask, np.ones((2, 2), bool))
    assert not (line & inside).any()
    assert line[64, :40].any()
    assert line[64, 80:].any()
    assert (drawn[~line] == 90).all()


def test_a_copy_of_a_photograph_is_rejected_where_the_rule_is_on(workspace: Workspace) -> None:
    scores = read_scores(workspace.candidates, workspace.plans)
    real = read_real_descriptors(workspace.candidates, workspace.inputs.sha256)
    assert real is not None
    other = next(one for one in real.to_dict("records") if one["image_id"] != scores.at[4, "clean_id"])
    scores.at[4, "descriptor"] = other["descriptor"]
    assert nearest_real(scores, real)["nearest_real_id"][4] == other["image_id"]
    assert judge_scores(scores, workspace.params, real).at[4, "status"] == "accepted"
    strict = workspace.params.model_copy(
        update={"select": workspace.params.select.model_copy(update={COPY_RULE: 0.005})}
    )
    table = judge_scores(scores, strict, real)
    assert (table.at[4, "status"], table.at[4, "rule"], table.at[4, "value"]) == ("rejected", COPY_RULE, 0.0)
    assert list(table.index[table["rule"] == COPY_RULE]) == [4]
    with pytest.raises(DefectoryError, match=r"min_nearest_real_lpips.*defectory resume"):
        judge_scores(scores, strict, None)
