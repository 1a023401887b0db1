"""The histogram engine against the exact one, and against test sets with images truly repeated."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.detectors.protocol import Scored
from tasks.evaluation.metrics.available import IMAGE_METRICS, PIXEL_METRICS, strata
from tasks.evaluation.metrics.histograms import ScoreHistograms
from tasks.evaluation.metrics.intervals import resampling_weights
from tests.evaluation.metrics.agreement import TOLERANCE, assert_agree, exact, row
from tests.evaluation.metrics.scored_sets import make_random, make_scored


@pytest.mark.parametrize(("strength", "seed"), [(0.0, 0), (1.0, 1), (2.0, 2), (4.0, 3), (12.0, 4)])
def test_it_agrees_with_the_exact_metrics(strength: float, seed: int) -> None:
    test, scored = make_random(size=64, strength=strength, seed=seed)
    values = ScoreHistograms.of(test, scored).values(np.ones((1, 20)))
    assert_agree(row(values, 0), exact(test, scored), TOLERANCE)


def test_few_defect_pixels_are_told_apart_one_by_one() -> None:
    test, scored = make_random(size=32, strength=1.5, seed=9)
    assert test.masks is not None
    assert 200 < test.masks.sum() < 1000
    weights = resampling_weights(strata(test), 4, seed=2)
    values = ScoreHistograms.of(test, scored).values(weights)
    for number, times in enumerate(weights):
        assert_agree(row(values, number), exact(test, scored, times), {})


def test_a_weight_is_a_number_of_repeats() -> None:
    test, scored = make_random(size=64, seed=5)
    weights = resampling_weights(strata(test), 6, seed=7)
    values = ScoreHistograms.of(test, scored).values(weights)
    for number, times in enumerate(weights):
        assert_agree(row(values, number), exact(test, scored, times), TOLERANCE)


def test_scores_of_few_levels_are_exact_whatever_the_weights() -> None:
    test, scored = make_random(size=48, seed=6)
    maps = np.round(scored.maps * 2)
    coarse = Scored(maps, np.round(scored.image_scores))
    weights = resampling_weights(strata(test), 6, seed=8)
    values = ScoreHistograms.of(test, coarse).values(weights)
    for number, times in enumerate(weights):
        assert_agree(row(values, number), exact(test, coarse, times), {})


def test_blocks_of_resamples_are_put_together_in_order() -> None:
    test, scored = make_random()
    histograms = ScoreHistograms.of(test, scored)
    weights = resampling_weights(strata(test), 300, seed=1)
    together = histograms.values(weights)
    for number in (0, 127, 128, 299):
        assert row(together, number) == pytest.approx(
            row(histograms.values(weights[number : number + 1]), 0), abs=1e-12
        )


def test_a_perfect_and_a_constant_map() -> None:
    test, _ = make_random()
    assert test.masks is not None
    ones = np.ones((1, 20))
    perfect = ScoreHistograms.of(test, make_scored(test.masks.astype(np.float32))).values(ones)
    assert row(perfect, 0) == pytest.approx(dict.fromkeys(IMAGE_METRICS + PIXEL_METRICS, 1.0))
    constant = row(ScoreHistograms.of(test, make_scored(np.zeros((20, 32, 32), dtype=np.float32))).values(ones), 0)
    prevalence = test.masks.mean()
    assert (constant["image_auroc"], constant["image_ap"]) == pytest.approx((0.5, 12 / 20))
    assert (constant["pixel_auroc"], constant["pro"]) == pytest.approx((0.5, 0.15))
    assert [constant[name] for name in ("pixel_ap", "iap", "iap90")] == pytest.approx([prevalence] * 3)
