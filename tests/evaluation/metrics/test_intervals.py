"""Resampling keeps its promises, and intervals hold what they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from tasks.contracts import DefectoryError
from tasks.detectors.protocol import Scored
from tasks.evaluation.metrics.available import strata
from tasks.evaluation.metrics.histograms import ScoreHistograms
from tasks.evaluation.metrics.intervals import Interval, interval, paired_interval, resampling_weights
from tests.evaluation.metrics.scored_sets import make_random, make_test


def test_a_resample_has_as_many_images_of_each_stratum() -> None:
    labels = np.array([0, 1, 1, 2, 0, 0, 2, 1])
    weights = resampling_weights(labels, 500, seed=1)
    assert weights.shape == (500, 8)
    for label, count in ((0, 3), (1, 3), (2, 2)):
        assert (weights[:, labels == label].sum(axis=1) == count).all()


def test_every_image_is_drawn_as_often_as_the_next() -> None:
    weights = resampling_weights(np.array([True] * 5 + [False] * 10), 20000, seed=2)
    assert weights.mean(axis=0) == pytest.approx(np.ones(15), abs=0.04)
    assert weights[:, 0].var() == pytest.approx(1 - 1 / 5, abs=0.04)  # of the multinomial
    assert weights[:, 9].var() == pytest.approx(1 - 1 / 10, abs=0.04)


def test_the_seed_is_the_resamples() -> None:
    labels = np.array([True, False] * 10)
    first, again, other = (resampling_weights(labels, 50, seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert (first != other).any()


def test_an_interval_is_between_quantiles_of_the_mean_over_seeds() -> None:
    values = np.array([np.arange(101.0), np.arange(101.0) + 2])
    assert interval(values, [50.0, 54.0], level=0.9) == Interval(52.0, pytest.approx(6.0), pytest.approx(96.0))
    assert interval(values[0], 50.0, level=0.9) == Interval(50.0, pytest.approx(5.0), pytest.approx(95.0))


def test_an_arm_against_itself_differs_by_nothing() -> None:
    test, scored = make_random()
    values = ScoreHistograms.of(test, scored).values(resampling_weights(strata(test), 200, seed=1))
    for value in values.values():
        assert paired_interval(value, value, value[0], value[0], 0.95) == Interval(0.0, 0.0, 0.0)


def test_a_pair_on_the_same_images_is_surer_than_its_arms() -> None:
    """The same maps and a little noise: what is hard for one is hard for the other."""
    test, scored = make_random(seed=3)
    noise = np.random.default_rng(1).normal(size=scored.maps.shape).astype(np.float32) * 0.3
    weights = resampling_weights(strata(test), 400, seed=1)
    first, second = (
        ScoreHistograms.of(test, Scored(maps, scored.image_scores)).values(weights)["pixel_ap"]
        for maps in (scored.maps, scored.maps + noise)
    )
    alone, pair = interval(first, first.mean(), 0.95), paired_interval(first, second, 0.0, 0.0, 0.95)
    assert pair.high - pair.low < 0.5 * (alone.high - alone.low)


def test_seeds_may_differ_in_number_but_resamples_may_not() -> None:
    first, second = np.ones((3, 10)), np.zeros((2, 10))
    assert paired_interval(first, second, [1, 1, 1], [0, 0], 0.95) == Interval(1.0, 1.0, 1.0)
    with pytest.raises(DefectoryError, match="got 10 and 9"):
        paired_interval(first, second[:, :9], 1, 0, 0.95)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Image AUROC of normals N(0, 1) and defects N(1, 1), which is Phi(1 / sqrt 2), over 300 test sets of 80 images."""
    truth, generator, covered = norm.cdf(1 / np.sqrt(2)), np.random.default_rng(5), 0
    test = make_test([None] * 80, [False] * 40 + [True] * 40, size=4)
    maps = np.zeros((80, 4, 4), dtype=np.float32)
    for trial in range(300):
        scores = (generator.normal(size=80) + test.defective).astype(np.float32)
        histograms = ScoreHistograms.of(test, Scored(maps, scores))
        values = histograms.values(resampling_weights(strata(test), 200, seed=trial))["image_auroc"]
        found = interval(values, 0.0, level=0.9)
        covered += found.low <= truth <= found.high
    assert 0.84 < covered / 300 < 0.95
