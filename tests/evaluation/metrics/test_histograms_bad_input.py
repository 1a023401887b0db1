"""The histogram engine on test sets that lack something, and on scores and weights that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.contracts import DefectoryError
from tasks.detectors.protocol import Scored, TestSet
from tasks.evaluation.metrics.available import PIXEL_METRICS, available, strata
from tasks.evaluation.metrics.exact import image_metrics, pixel_metrics
from tasks.evaluation.metrics.histograms import ScoreHistograms
from tasks.evaluation.metrics.intervals import resampling_weights
from tests.evaluation.metrics.agreement import TOLERANCE, assert_agree, exact, row
from tests.evaluation.metrics.scored_sets import make_random, make_test


def without_masks(test: TestSet, numbers: range) -> TestSet:
    return TestSet(
        tuple(
            replace(example, mask=None) if number in numbers else example
            for number, example in enumerate(test.examples)
        )
    )


def test_images_without_masks_count_for_the_image_metrics_only() -> None:
    test, scored = make_random()
    partly = without_masks(test, range(15, 20))
    values = row(ScoreHistograms.of(partly, scored).values(np.ones((1, 20))), 0)
    first = TestSet(test.examples[:15])
    expected = exact(first, Scored(scored.maps[:15], scored.image_scores[:15]))
    expected |= image_metrics(scored.image_scores, test.defective)
    assert_agree(values, expected, TOLERANCE)
    repeated = resampling_weights(strata(partly), 200, seed=3)
    assert np.isfinite(list(ScoreHistograms.of(partly, scored).values(repeated).values())).all()


@pytest.mark.parametrize("bad", ["no masks", "no defects", "no normals", "empty masks", "whole masks", "nothing"])
def test_it_gives_what_is_available(bad: str) -> None:
    masks = np.zeros((6, 32, 32), dtype=bool)
    masks[:, 4:9, 4:9] = True
    test = {
        "no masks": make_test([None] * 6, [False] * 3 + [True] * 3),
        "no defects": make_test([None] * 6, [False] * 6),
        "no normals": make_test(list(masks), [True] * 6),
        "empty masks": make_test([None] * 3 + list(masks[3:] & False), [False] * 3 + [True] * 3),
        "whole masks": make_test(list(masks | True), [True] * 6),
        "nothing": make_test([], []),
    }[bad]
    maps = np.random.default_rng(0).normal(size=(len(test.examples), 32, 32)).astype(np.float32)
    scored = Scored(maps, maps.mean(axis=(1, 2)))
    values = ScoreHistograms.of(test, scored).values(resampling_weights(strata(test), 20, seed=1))
    assert tuple(values) == available(test)[0]
    assert all(value.shape == (20,) for value in values.values())
    if bad == "no normals":
        expected = pixel_metrics(maps, masks)
        found = ScoreHistograms.of(test, scored).values(np.ones((1, 6)))
        assert_agree(row(found, 0), {name: expected[name] for name in PIXEL_METRICS}, dict.fromkeys(TOLERANCE, 0.002))


def test_scores_that_do_not_fit_are_refused() -> None:
    test, scored = make_random()
    with pytest.raises(DefectoryError, match="20 test images need as many maps and image scores, got 19 and 20"):
        ScoreHistograms.of(test, Scored(scored.maps[1:], scored.image_scores))
    with pytest.raises(DefectoryError, match="part/008: the mask is"):
        ScoreHistograms.of(test, Scored(scored.maps[:, ::2, ::2], scored.image_scores))
    broken = scored.maps.copy()
    broken[3, 0, 0] = np.nan
    with pytest.raises(DefectoryError, match="not finite"):
        ScoreHistograms.of(test, Scored(broken, scored.image_scores))


def test_weights_that_do_not_fit_are_refused() -> None:
    test, scored = make_random()
    histograms = ScoreHistograms.of(test, scored)
    with pytest.raises(DefectoryError, match=r"weights must be \(resamples, 20\), got \(2, 19\)"):
        histograms.values(np.ones((2, 19)))
    for lost in (slice(0, 8), slice(8, 20)):
        weights = np.ones((2, 20))
        weights[1, lost] = 0
        with pytest.raises(DefectoryError, match="a resample keeps no image"):
            histograms.values(weights)
