"""How sure a figure is: a percentile bootstrap over the test images.

Two arms are compared on the same resamples, so that what makes a test image hard for both cancels out. The interval
covers the choice of test images; the trainings' seeds are averaged over beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.contracts import DefectoryError
from tasks.seeds import numpy_generator


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


def resampling_weights(strata: NDArray[np.generic], resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each image is drawn in each resample, (resamples, n).

    `strata` (n,) labels the images, as defective or not or as `available.strata` does: as many are drawn of each label
    as it has, with replacement, so no resample loses one.
    """
    generator = numpy_generator(seed)
    weights = np.zeros((resamples, len(strata)), dtype=np.int64)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights


def interval(values: ArrayLike, point: ArrayLike, level: float) -> Interval:
    """The interval of a metric from its resampled values, (k,) or (seeds, k), around its own, one or (seeds,)."""
    tail = (1 - level) / 2
    low, high = np.quantile(_mean(values), [tail, 1 - tail])
    return Interval(_over_all(point), float(low), float(high))


def paired_interval(
    first: ArrayLike, second: ArrayLike, first_point: ArrayLike, second_point: ArrayLike, level: float
) -> Interval:
    """The interval of first - second, two arms' (seeds, k) values of one metric under the same k weightings.

    Raises DefectoryError where the two have different numbers of resamples, which cannot be of the same weightings.
    """
    of_first, of_second = _mean(first), _mean(second)
    if of_first.shape != of_second.shape:
        raise DefectoryError(
            f"a paired interval needs the same resamples of both arms, got {of_first.size} and {of_second.size}; "
            "draw resampling_weights once and use them for every arm"
        )
    return interval(of_first - of_second, _over_all(first_point) - _over_all(second_point), level)


def _mean(values: ArrayLike) -> NDArray[np.float64]:
    """Over seeds, (k,)."""
    return np.atleast_2d(np.asarray(values, dtype=np.float64)).mean(axis=0)


def _over_all(points: ArrayLike) -> float:
    return float(np.asarray(points, dtype=np.float64).mean())
