"""The scorer on pastes whose quality is known, and its promises about bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.contracts import DefectoryError, Image
from tasks.networks.classifiers import confidence_and_entropy
from tasks.networks.lpips import LPIPS
from tasks.params import ScoreParams, SelectParams
from tasks.quality.change import distance_to, within
from tasks.quality.scores import BATCH, Scorer, Scores
from tests.quality.pastes import blend, disc, photograph, sticker

FEATHER = 6
KEYS = {
    "lpips_to_clean",
    "lpips_inside",
    "change_inside",
    "outside_max_abs",
    "outside_mean_abs",
    "seam_contrast",
    "class_confidence",
    "class_entropy",
    "intended_area",
    "effective_area",
    "effective_share",
}
MASK = disc()


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(ScoreParams())


def score(scorer: Scorer, result: Image, clean: Image) -> Scores:
    return scorer.score([result], [clean], [MASK], FEATHER)[0]


def as_bytes(scores: Scores) -> bytes:
    numbers = np.array(list(scores.values.values())).tobytes()
    return numbers + scores.effective_mask.tobytes() + scores.logits.tobytes() + scores.descriptor.tobytes()


def test_an_unchanged_image_shows_nothing(scorer: Scorer) -> None:
    scores = score(scorer, photograph(), photograph())
    assert set(scores.values) == KEYS
    nothing = ("lpips_to_clean", "lpips_inside", "change_inside", "outside_max_abs", "outside_mean_abs")
    assert [scores.values[key] for key in nothing] == [0] * 5
    assert scores.values["seam_contrast"] == 1
    assert scores.values["effective_area"] == scores.values["effective_share"] == 0
    assert not scores.effective_mask.any()


def test_change_in_the_ring_alone_is_no_share_of_the_mask(scorer: Scorer) -> None:
    """As where an adaptation moves the mask's surroundings and nothing was painted."""
    clean = photograph()
    ring = within(distance_to(MASK), FEATHER) & ~MASK
    result = np.where(ring[..., None], clean ^ 64, clean).astype(np.uint8)
    scores = score(scorer, result, clean)
    assert scores.values["effective_area"] > 0.1 * MASK.mean()
    assert scores.values["effective_share"] < 0.1


def test_a_good_paste_passes_every_threshold_and_its_figures_are_right(scorer: Scorer) -> None:
    clean = photograph()
    result = blend(clean, MASK, 20, FEATHER)
    scores, limits = score(scorer, result, clean), SelectParams()
    difference = np.abs(result.astype(float) - clean)
    assert scores.values["change_inside"] == pytest.approx(difference[MASK].mean())
    assert scores.values["outside_max_abs"] == scores.values["outside_mean_abs"] == 0
    assert scores.values["intended_area"] == MASK.mean()
    assert scores.values["effective_area"] == scores.effective_mask.mean() > 0.9 * MASK.mean()
    assert 0.9 < scores.values["effective_share"] <= 1
    assert scores.values["lpips_inside"] > limits.min_lpips_inside
    assert scores.values["seam_contrast"] < limits.max_seam_contrast
    first, second = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (result, clean))
    assert scores.values["lpips_to_clean"] == pytest.approx(float(LPIPS()(first, second)), rel=1e-4)


def test_visibility_orders_a_faint_and_a_strong_defect(scorer: Scorer) -> None:
    clean = photograph()
    faint = np.where(MASK[..., None], np.clip(clean.astype(int) + 4, 0, 255), clean).astype(np.uint8)
    weak, strong = score(scorer, faint, clean).values, score(scorer, blend(clean, MASK, 20, FEATHER), clean).values
    assert weak["lpips_inside"] < 0.2 * strong["lpips_inside"]
    assert weak["change_inside"] < 4.01 < strong["change_inside"]


def test_one_pixel_changed_beyond_the_ring_is_found(scorer: Scorer) -> None:
    clean = photograph()
    result = blend(clean, MASK, 20, FEATHER)
    result[5, 5, 2] ^= 1
    values = score(scorer, result, clean).values
    assert values["outside_max_abs"] == 1
    assert 0 < values["outside_mean_abs"] < 1e-4


def test_a_sticker_shows_its_seam(scorer: Scorer) -> None:
    clean = photograph()
    assert score(scorer, sticker(clean, MASK, 20), clean).values["seam_contrast"] > SelectParams().max_seam_contrast


def test_classes_come_from_the_logits_as_stored(scorer: Scorer) -> None:
    scores = score(scorer, photograph(), photograph())
    assert scores.logits.shape == (1000,)
    assert scores.logits.dtype == scores.descriptor.dtype == np.float16
    expected = [float(value[0]) for value in confidence_and_entropy(scores.logits[None])]
    assert [scores.values["class_confidence"], scores.values["class_entropy"]] == expected


def test_without_a_classifier_all_other_scores_are_the_same(scorer: Scorer) -> None:
    clean = photograph()
    result = blend(clean, MASK, 20, FEATHER)
    whole, bare = score(scorer, result, clean), score(Scorer(ScoreParams(classifier="none")), result, clean)
    assert bare.logits.shape == (0,)
    told = ("class_confidence", "class_entropy")
    assert all(np.isnan(bare.values[key]) for key in told)
    assert all(bare.values[key] == whole.values[key] for key in KEYS - set(told))
    assert np.array_equal(bare.descriptor, whole.descriptor)


def test_bytes_depend_on_neither_the_run_nor_the_company(scorer: Scorer) -> None:
    cleans = [photograph(left) for left in range(0, 10 * (BATCH + 2), 10)]
    results = [blend(clean, MASK, 20 * place, FEATHER) for place, clean in enumerate(cleans)]
    together = scorer.score(results, cleans, [MASK] * len(results), FEATHER)
    alone = [score(Scorer(ScoreParams()), results[place], cleans[place]) for place in (0, BATCH + 1)]
    assert [as_bytes(one) for one in alone] == [as_bytes(together[place]) for place in (0, BATCH + 1)]


def test_an_empty_mask_is_scored_as_invisible(scorer: Scorer) -> None:
    scores = scorer.score([photograph()], [photograph()], [np.zeros((256, 256), bool)], FEATHER)[0]
    assert scores.values["lpips_inside"] == scores.values["change_inside"] == scores.values["intended_area"] == 0


def test_what_does_not_fit_together_is_named(scorer: Scorer) -> None:
    with pytest.raises(DefectoryError, match="2 images, 1 clean twins, 1 masks"):
        scorer.score([photograph()] * 2, [photograph()], [MASK], FEATHER)
    with pytest.raises(DefectoryError, match=r"sample 1 .*mask \(128, 256\)"):
        scorer.score([photograph()] * 2, [photograph()] * 2, [MASK, MASK[:128]], FEATHER)


def test_nothing_to_score_gives_nothing(scorer: Scorer) -> None:
    assert scorer.score([], [], [], FEATHER) == []
