"""PRO and instance precision as their definitions read, in loops over thresholds and components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def slow_pro(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    """The mean overlap of components at each threshold in turn, integrated with a point put in at 0.3."""
    parts = []
    for number, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        parts += [(number, labels == label) for label in range(1, count + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        marked = maps >= threshold
        rates.append(float(marked[~masks].mean()))
        overlaps.append(float(np.mean([marked[number][part].mean() for number, part in parts])))
    end = float(np.interp(0.3, rates, overlaps))
    kept = [(rate, overlap) for rate, overlap in zip(rates, overlaps, strict=True) if rate < 0.3] + [(0.3, end)]
    return float(np.trapezoid([overlap for _, overlap in kept], [rate for rate, _ in kept]) / 0.3)


def slow_instance_precision(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> tuple[float, float]:
    """IAP and IAP@90: for each instance the best precision of any threshold at which as many are found."""
    thresholds = []
    for scores, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            falling = np.sort(scores[labels == label])[::-1]
            thresholds.append(falling[int(0.5 * len(falling))])
    thresholds.sort()
    precisions = [masks[maps >= threshold].mean() for threshold in thresholds]
    enveloped = [max(precisions[: place + 1]) for place in range(len(precisions))]
    at_90 = [value for place, value in enumerate(enveloped) if 1 - place / len(enveloped) >= 0.9][-1]
    return float(np.mean(enveloped)), float(at_90)
