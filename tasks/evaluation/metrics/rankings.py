"""Images and pixels by score, counted so that any weighting of the images is a sum away.

In: scores and what is truly there. Out: AUROC, average precision, F1-max and PRO, (k,) for weights (k, n). Images are
ranked exactly; pixels are counted in bins between quantiles of the scores, and what shares a bin is taken for tied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import Mask
from tasks.evaluation.metrics import curves
from tasks.evaluation.metrics.instances import region_weights

SCORE_QUANTILES = 2000
"""Half of the positives' scores, who are few, and half of the negatives'. Each is a bin, and so is what lies between
two. Up to a thousand defect pixels are so told apart one by one, and all values are exact."""

Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ImageRanking:
    """Images from the highest score to the lowest."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    """Places in the order where another score begins."""
    defective: NDArray[np.bool_]
    """(n,), in the order of the test set."""

    @classmethod
    def of(cls, scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> ImageRanking:
        order = np.argsort(-scores, kind="stable")
        changes = np.concatenate([[True], np.diff(scores[order]) != 0])
        return cls(order, np.flatnonzero(changes), defective)

    def values(self, weights: NDArray[np.float64]) -> Values:
        positives, negatives = self._counts(weights * self.defective), self._counts(weights * ~self.defective)
        return _ranking_values(positives, negatives, "image")

    def _counts(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(weights[:, self.order], self.starts, axis=1))


@dataclass(frozen=True)
class PixelHistograms:
    """What lies in each of b bins of scores, from the highest to the lowest, by image: (n, b) each."""

    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    regions: NDArray[np.float64]
    """Positives, each as one divided by its component's pixels."""

    @classmethod
    def of(cls, maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> PixelHistograms:
        edges = _edges(maps, masks)
        rows = [_histograms(scores, mask, edges) for scores, mask in zip(maps, masks, strict=True)]
        return cls(*np.stack(rows, axis=1))

    def values(self, weights: NDArray[np.float64]) -> Values:
        positives, negatives = weights @ self.positives, weights @ self.negatives
        values = _ranking_values(positives, negatives, "pixel")
        return values | {"pro": curves.pro(weights @ self.regions, negatives)}


def _ranking_values(positives: NDArray[np.float64], negatives: NDArray[np.float64], what: str) -> Values:
    return {
        f"{what}_auroc": curves.auroc_of_counts(positives, negatives),
        f"{what}_ap": curves.average_precision(positives, negatives),
        f"{what}_f1_max": curves.f1_max(positives, negatives),
    }


def _edges(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The scores, rising, at which bins begin, from the lowest of all, and infinity, where the last one ends.

    A quantile is a score that occurs, and a bin of its own: else every positive, where these are few, would be tied
    with the negatives of its bin, all on one side of it.
    """
    scores = np.concatenate([_quantiles(maps[where]) for where in (masks, ~masks)])
    above = np.nextafter(scores, np.inf, dtype=scores.dtype)
    return np.append(np.unique(np.concatenate([scores, above])), np.float32(np.inf))


def _quantiles(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """As numpy's, which take longer for so many at once."""
    half = SCORE_QUANTILES // 2
    return np.sort(scores)[np.arange(half) * len(scores) // half]


def _histograms(scores: NDArray[np.float32], mask: Mask, edges: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Positives, negatives and regions of one image, (bins,) each, from the highest score to the lowest."""
    positives, _ = np.histogram(scores[mask], edges)
    negatives, _ = np.histogram(scores[~mask], edges)
    regions, _ = np.histogram(scores[mask], edges, weights=region_weights(mask)[mask])
    return [counts[::-1].astype(np.float64) for counts in (positives, negatives, regions)]
