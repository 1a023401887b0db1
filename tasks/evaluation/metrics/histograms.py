"""All metrics of a detector on a test set for a thousand weightings of its images at once.

Every image is reduced to counts by score. A resample of the test set is then a weight for each image, and its metrics
come from a matrix product instead of another sort of all pixels. Pixels are counted in bins by 2000 quantiles of the
scores, so values differ from `exact` by less than 1e-3; image metrics, IAP and IAP@90 are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import DefectoryError
from tasks.detectors.protocol import Scored, TestSet
from tasks.evaluation.metrics.available import IMAGE_METRICS, PIXEL_METRICS, WITHOUT_MASK, available, strata
from tasks.evaluation.metrics.instances import Instances
from tasks.evaluation.metrics.rankings import ImageRanking, PixelHistograms, Values

Weights = NDArray[np.int64] | NDArray[np.float64]

_BLOCK = 128
"""Resamples that are computed at once: each takes a few arrays of (block, bins)."""


@dataclass(frozen=True)
class ScoreHistograms:
    """A detector's scores of a test set, ready to be weighted; a part is None where the test set does not allow it."""

    size: int
    """n, the images of the test set."""
    with_pixels: NDArray[np.int64]
    """The images that pixel metrics are over."""
    images: ImageRanking | None
    pixels: PixelHistograms | None
    instances: Instances | None

    @classmethod
    def of(cls, test: TestSet, scored: Scored) -> ScoreHistograms:
        """Raises DefectoryError where the scores do not fit the test set or are not finite."""
        _check(test, scored)
        names, _ = available(test)
        rows = np.flatnonzero(strata(test) != WITHOUT_MASK)
        images = ImageRanking.of(scored.image_scores, test.defective) if IMAGE_METRICS[0] in names else None
        if PIXEL_METRICS[0] not in names:
            return cls(len(test.examples), rows, images, None, None)
        maps = scored.maps[rows]
        masks = TestSet(tuple(test.examples[row] for row in rows)).masks
        assert masks is not None  # the rows without one are left out
        return cls(len(test.examples), rows, images, PixelHistograms.of(maps, masks), Instances.of(maps, masks))

    def values(self, weights: Weights) -> Values:
        """Each metric that the test set allows, (k,), by name; weights are (k, n), how often each image counts.

        All ones give the test set's own values. Raises DefectoryError where a row keeps too little to compute from,
        which weights that are drawn within the strata of `available` never do.
        """
        if weights.ndim != 2 or weights.shape[1] != self.size:
            raise DefectoryError(f"weights must be (resamples, {self.size}), got {weights.shape}")
        parts = [self._block(weights[start : start + _BLOCK]) for start in range(0, len(weights), _BLOCK)]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        lost = [name for name, value in values.items() if not np.isfinite(value).all()]
        if lost:
            raise DefectoryError(
                f"a resample keeps no image that {', '.join(lost)} could be computed from; draw weights with "
                "resampling_weights within the strata of the test set"
            )
        return values

    def _block(self, weights: Weights) -> Values:
        whole = weights.astype(np.float64)
        with_pixels = whole[:, self.with_pixels]
        with np.errstate(invalid="ignore"):  # said by `values`, for all of them at once
            values: Values = {} if self.images is None else self.images.values(whole)
            for part in (self.pixels, self.instances):
                values |= {} if part is None else part.values(with_pixels)
        return values


def _check(test: TestSet, scored: Scored) -> None:
    for example, scores in zip(test.examples, scored.maps, strict=False):
        if example.mask is not None and example.mask.shape != scores.shape:
            raise DefectoryError(
                f"{example.example_id}: the mask is {example.mask.shape}, the detector's map {scores.shape}; bring "
                "both to the evaluation's size"
            )
    if not len(test.examples) == len(scored.maps) == len(scored.image_scores):
        raise DefectoryError(
            f"{len(test.examples)} test images need as many maps and image scores, got {len(scored.maps)} and "
            f"{len(scored.image_scores)}"
        )
    if not (np.isfinite(scored.maps).all() and np.isfinite(scored.image_scores).all()):
        raise DefectoryError("the detector's scores hold values that are not finite; its training has diverged")
