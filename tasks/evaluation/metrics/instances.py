"""Defect instances, the 8-connected components of masks, and the instance average precision over them.

IAP (Zhang et al., "DeSTSeg", CVPR 2023) lowers the threshold from instance to instance: an instance is found once half
of its pixels are above it, and the precision there is that of all pixels. It so weighs a small defect like a large one
and yet punishes every pixel marked in vain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.contracts import Mask

_NEIGHBOURS = np.ones((3, 3), dtype=bool)
"""A pixel and its eight neighbours."""


def components(mask: Mask) -> NDArray[np.int32]:
    """The number of each pixel's component, from 1; 0 outside of the mask."""
    labels, _ = ndimage.label(mask, structure=_NEIGHBOURS)
    return np.asarray(labels)


def region_weights(mask: Mask) -> NDArray[np.float64]:
    """One divided by its component's pixels for each pixel of the mask, 0 outside: every component sums to 1."""
    labels = components(mask)
    weights = 1 / np.maximum(np.bincount(labels.ravel()), 1)
    weights[0] = 0
    return weights[labels]


def found_at(scores: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """The highest threshold at which half of each component's pixels, and at least one, score no less.

    Of n descending scores it is the one of place n // 2 counted from 0, as in DeSTSeg's code. (components,).
    """
    numbers = components(mask)[mask]
    order = np.lexsort((-scores[mask], numbers))
    sizes = np.bincount(numbers)[1:]
    return scores[mask][order][np.cumsum(sizes) - sizes + sizes // 2]


@dataclass(frozen=True)
class Instances:
    """The m instances of n images by rising threshold, and what each image's map marks at each threshold."""

    owner: NDArray[np.int64]
    """(m,), the image of each instance."""
    inside: NDArray[np.float64]
    """(n, m), pixels of an image inside its mask that score no less than the threshold."""
    outside: NDArray[np.float64]
    """(n, m), the same outside."""

    @classmethod
    def of(cls, maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> Instances:
        """Of maps and masks (n, height, width)."""
        found = [found_at(scores, mask) for scores, mask in zip(maps, masks, strict=True)]
        thresholds = np.concatenate(found)
        order = np.argsort(thresholds, kind="stable")
        pairs = list(zip(maps, masks, strict=True))
        return cls(
            np.repeat(np.arange(len(maps)), [len(each) for each in found])[order],
            np.stack([_marked(scores[mask], thresholds[order]) for scores, mask in pairs]),
            np.stack([_marked(scores[~mask], thresholds[order]) for scores, mask in pairs]),
        )

    def values(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """IAP and IAP@90, (k,), where image i counts weights[:, i] times; weights are (k, n).

        A precision counts for every instance from its own on to the harder-to-miss ones (the monotone envelope). IAP is
        the mean over instances, IAP@90 the precision at the smallest recall of at least 0.9.
        """
        own = weights[:, self.owner]
        inside, marked = weights @ self.inside, weights @ (self.inside + self.outside)
        precision = np.divide(inside, marked, out=np.zeros_like(inside), where=own > 0)
        total = own.sum(axis=1)
        missed = np.cumsum(own, axis=1) - own  # recall >= 0.9 in whole numbers, which do not round
        return {
            "iap": (own * np.maximum.accumulate(precision, axis=1)).sum(axis=1) / total,
            "iap90": np.where(10 * missed <= total[:, None], precision, 0).max(axis=1),
        }


def _marked(scores: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.float64(scores.size) - np.searchsorted(np.sort(scores), thresholds, side="left")
