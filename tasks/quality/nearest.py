"""Distances between descriptors, and the search for near-duplicates in the order of the samples.

Descriptors are float16 values below 4: their products and sums are exact in float64, so no thread count, block size or
linear-algebra library can change a distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256


def squared_distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row (n, 256) to each row (m, 256), which estimate LPIPS; (n, m)."""
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * first @ second.T, 0)


def nearest_accepted(descriptors: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """The squared distance of each row (n, 256) to the nearest row accepted before it; infinite where there is none.

    A row is accepted when that distance is at least `threshold`. Matrix products over blocks of rows do the work:
    with a last column that holds |b|^2 against 1, one product is |b|^2 - 2 ab, all that a row's nearest depends on.
    """
    norms = np.square(descriptors).sum(axis=1)
    queries = np.column_stack([-2 * descriptors, np.ones(len(descriptors))])
    kept, count = np.empty_like(queries), 0
    nearest = np.full(len(descriptors), np.inf)
    for start in range(0, len(descriptors), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(descriptors)))
        beyond = (queries[block] @ kept[:count].T).min(axis=1, initial=np.inf)
        nearest[block] = np.maximum(beyond + norms[block], 0)
        accepted = start + _accept(nearest[block], descriptors[block], threshold)
        kept[count : count + len(accepted)] = np.column_stack([descriptors[accepted], norms[accepted]])
        count += len(accepted)
    return nearest


def _accept(nearest: NDArray[np.float64], rows: NDArray[np.float64], threshold: float) -> NDArray[np.intp]:
    """The rows of a block that are accepted; lowers `nearest` by the distances between the block's own rows."""
    within = squared_distances(rows, rows)
    accepted = np.zeros(len(rows), dtype=bool)
    for row in range(len(rows)):
        accepted[row] = nearest[row] >= threshold
        if accepted[row]:
            later = nearest[row + 1 :]
            np.minimum(later, within[row, row + 1 :], out=later)
    return np.flatnonzero(accepted)
