"""The probe finds planted defects from other planted ones, and learns nothing from masks that lie elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.contracts import DefectoryError
from tasks.detectors.probe import LinearProbe, cell_labels, cell_weights, described, draw_cells, fit, score
from tasks.detectors.protocol import Example, TestSet
from tasks.evaluation.examples import shuffled
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams, ProbeParams
from tests.detectors.planted import SIZE, arm, defect, ignore, normal, texture

PARAMS = EvaluateParams(image_size=SIZE)
TEST = TestSet((*map(normal, range(50, 56)), *map(defect, range(50, 58))))


@pytest.fixture(scope="module")
def probe() -> LinearProbe:
    return fit(arm(), PARAMS, 0, HOST, ignore)


def pixel_auroc(model: LinearProbe) -> float:
    assert TEST.masks is not None
    return float(roc_auc_score(TEST.masks.ravel(), score(model, TEST.images).maps.ravel()))


def test_planted_blobs_are_found(probe: LinearProbe) -> None:
    scored = score(probe, TEST.images)
    assert roc_auc_score(TEST.defective, scored.image_scores) > 0.95
    assert pixel_auroc(probe) > 0.95


def test_shuffled_masks_teach_nothing(probe: LinearProbe) -> None:
    """A mask elsewhere, or another image's, which here and there lies on its own image's blob by chance."""
    assert pixel_auroc(fit(replace(arm(), defects=tuple(map(elsewhere, arm().defects))), PARAMS, 0, HOST, ignore)) < 0.6
    swapped = replace(arm(), defects=shuffled(arm().defects))
    assert pixel_auroc(fit(swapped, PARAMS, 0, HOST, ignore)) < 0.9 < 0.99 < pixel_auroc(probe)


def elsewhere(example: Example) -> Example:
    assert example.mask is not None
    return replace(example, mask=np.roll(example.mask, (SIZE // 2, SIZE // 2), axis=(0, 1)))


def test_the_same_seed_gives_the_same_probe_whatever_was_scored_before(probe: LinearProbe) -> None:
    few = EvaluateParams(image_size=SIZE, probe=ProbeParams(normal_cells=300, defect_cells=100))
    first = fit(arm(), few, 0, HOST, ignore)
    score(first, TEST.images)
    again, other = fit(arm(), few, 0, HOST, ignore), fit(arm(), few, 1, HOST, ignore)
    assert np.array_equal(first.direction, again.direction)
    assert first.offset == again.offset
    assert not np.array_equal(first.direction, other.direction)
    assert not np.array_equal(first.direction, probe.direction)


def test_scores_do_not_depend_on_companions(probe: LinearProbe) -> None:
    together, alone = score(probe, TEST.images), score(probe, TEST.images[7:8])
    assert np.array_equal(together.maps[7], alone.maps[0])
    assert together.image_scores[7] == alone.image_scores[0]


def test_each_group_is_drawn_up_to_its_number_from_all_images() -> None:
    groups = [np.zeros((16, 16), np.int8) for _ in range(3)]
    groups[0][:4], groups[1][:4], groups[2][0, :2] = 1, 1, 2
    groups[2][5] = -1
    chosen = draw_cells(groups, (100, 30, 30), np.random.default_rng(0))
    assert [chosen[n][groups[n] == 0].sum() > 10 for n in range(3)] == [True] * 3
    counts = [
        sum(int(taken[group == number].sum()) for group, taken in zip(groups, chosen, strict=True))
        for number in (-1, 0, 1, 2)
    ]
    assert counts == [0, 100, 30, 2]


def test_an_image_s_score_is_the_mean_of_its_map_s_highest_percent(probe: LinearProbe) -> None:
    scored = score(probe, TEST.images[-1:])
    highest = sorted(scored.maps[0].ravel().tolist())[-41:]
    assert scored.image_scores[0] == pytest.approx(np.mean(highest), abs=1e-5)


def test_maps_are_log_odds_of_the_features(probe: LinearProbe) -> None:
    flat = LinearProbe(np.zeros(304), -2.5)
    assert np.allclose(score(flat, [texture(0)]).maps, -2.5)
    cells = described(texture(0)).reshape(-1, 304) @ probe.direction + probe.offset
    assert score(probe, [texture(0)]).maps.mean() == pytest.approx(cells.mean(), abs=0.3 * cells.std())


def test_cells_count_by_how_much_the_mask_covers() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:8, 8:12] = True
    mask[8:10, 8:12] = True
    mask[10, 8] = True
    mask[4, 12] = True
    labels = cell_labels(mask)
    assert (labels[1, 2], labels[2, 2], labels[1, 3]) == (2, 2, 1)
    assert (labels == 0).sum() == 256 - 3


def test_a_mask_smaller_than_half_a_cell_has_one_cell() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[7, 10:13] = True
    labels = cell_labels(mask)
    assert (labels[1, 2], labels[1, 3]) == (2, 1)
    assert (labels == 2).sum() == 1


def test_origins_weigh_the_same_and_defects_as_much_as_normals() -> None:
    groups = np.array([0] * 10 + [1] * 4 + [2] * 1, dtype=np.int8)
    weights = cell_weights(groups)
    totals = [weights[groups == group].sum() for group in range(3)]
    assert totals == pytest.approx([7.5, 3.75, 3.75])


def test_an_arm_that_cannot_be_learned_from_is_named_with_the_next_step() -> None:
    with pytest.raises(DefectoryError, match=r"'planted' has no defect.*memory bank"):
        fit(replace(arm(), defects=()), PARAMS, 0, HOST, ignore)
    with pytest.raises(DefectoryError, match=r"'planted' has no normal image"):
        fit(replace(arm(), normals=()), PARAMS, 0, HOST, ignore)
    bare = (replace(arm().defects[0], mask=None),)
    with pytest.raises(DefectoryError, match=r"'planted': 1 defects have no mask.*blob 0"):
        fit(replace(arm(), defects=bare), PARAMS, 0, HOST, ignore)
