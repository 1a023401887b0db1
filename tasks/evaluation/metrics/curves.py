"""Metrics of a ranking from counts by score, for many weightings of the images at once.

In: what lies at each of b scores, from the highest to the lowest, as arrays (k, b): a row for each weighting. What lies
at one score is tied. Out: (k,). With a column for each distinct score the values are exact; with bins of scores they
take for tied what shares a bin. A row needs positives and negatives; without them its value is not a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
FPR_LIMIT = 0.3
"""Of PRO: up to which false positive rate its curve is integrated (Bergmann et al., MVTec AD, IJCV 2021)."""


def auroc_of_counts(positives: Counts, negatives: Counts) -> Counts:
    """The probability that a positive scores above a negative, ties counted half."""
    total = negatives.sum(axis=1, keepdims=True)
    below = total - np.cumsum(negatives, axis=1) + negatives / 2
    return (positives * below).sum(axis=1) / (positives.sum(axis=1) * total[:, 0])


def average_precision(positives: Counts, negatives: Counts) -> Counts:
    """The sum over scores of precision times the recall gained there: a step function, nothing interpolated."""
    found = np.cumsum(positives, axis=1)
    precision = _divide(found, found + np.cumsum(negatives, axis=1))
    return (positives * precision).sum(axis=1) / found[:, -1]


def f1_max(positives: Counts, negatives: Counts) -> Counts:
    """The largest F1 over all thresholds, chosen on the test images themselves: an upper bound."""
    found = np.cumsum(positives, axis=1)
    marked = found + np.cumsum(negatives, axis=1)
    return (2 * found / (found[:, -1:] + marked)).max(axis=1)


def pro(regions: Counts, negatives: Counts) -> Counts:
    """The area below the per-region overlap against the false positive rate, from 0 to 0.3, divided by 0.3.

    `regions` counts each positive pixel as one divided by its component's pixels. Between scores, and so at 0.3, the
    curve is linear. A constant map has 0.15.
    """
    overlap, false_positive_rate = _cumulative_share(regions), _cumulative_share(negatives)
    whole = np.diff(false_positive_rate, axis=1)
    width = np.diff(np.minimum(false_positive_rate, FPR_LIMIT), axis=1)
    rise = np.diff(overlap, axis=1) * _divide(width, whole)
    return (width * (overlap[:, :-1] + rise / 2)).sum(axis=1) / FPR_LIMIT


def _cumulative_share(counts: Counts) -> Counts:
    """(k, b + 1), from 0 to 1."""
    summed = np.cumsum(counts, axis=1)
    return np.pad(summed / summed[:, -1:], ((0, 0), (1, 0)))


def _divide(dividend: Counts, divisor: Counts) -> Counts:
    """0 where the divisor is."""
    return np.divide(dividend, divisor, out=np.zeros_like(dividend), where=divisor > 0)
