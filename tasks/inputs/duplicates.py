"""Which photographs of a category show nearly the same thing, however they were turned, mirrored or exposed.

In: one small descriptor a photograph. Out: pairs. Why not file hashes: a second exposure, a re-encoded copy or the
neighbouring frame shares no byte, and leaks all the same.

The descriptor is a 16 x 16 grey thumbnail with its brightness and contrast taken out. Products of one kind look
alike, so what all of a category share, their mean, is subtracted before comparing: near is only what has the same
peculiarities. Without that, a third of the perfectly uniform cells or bottles would be joined into one group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tasks.contracts import Image

_SIDE = 16
_BLOCK = 1024
"""Rows compared at once: bounds the memory."""
_SAME = 1e-3
"""Of a descriptor's energy: a category whose peculiarities are weaker than this has none."""

Descriptors = NDArray[np.float32]


def descriptor_of(image: Image) -> Descriptors:
    """(256,) of zero mean and unit variance; all zero for an image of one grey level."""
    small = PillowImage.fromarray(image).convert("F").resize((_SIDE, _SIDE), PillowImage.Resampling.BOX)
    levels = np.asarray(small, dtype=np.float32).ravel()
    centred = levels - levels.mean()
    return np.asarray(centred / max(float(levels.std()), 0.5), dtype=np.float32)


def near_pairs(descriptors: Descriptors, distance: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows of (n, 256) that are nearer than `distance` in one of the eight orientations.

    With r the descriptors less their mean, the distance is |r_i - r_j|^2 / (2 |r_i| |r_j|): 0 for the same
    peculiarities, 1 for unrelated ones.
    """
    for row, column, _, _ in near_between(descriptors, descriptors, descriptors.mean(axis=0), distance):
        if row != column:
            yield row, column


def near_between(
    first: Descriptors, second: Descriptors, mean: Descriptors, distance: float
) -> Iterator[tuple[int, int, int, float]]:
    """Rows of `first` and of `second` that are nearer than `distance`, once for each orientation in which they are.

    As `near_pairs`, with the mean of the category given: (row, column, orientation of the second, distance), where
    orientation 0 is upright.
    """
    rows = first - mean
    for orientation, turned in enumerate(_orientations(second)):
        columns = turned - mean
        for start in range(0, len(rows), _BLOCK):
            distances = _distances(rows[start : start + _BLOCK], columns)
            for row, column in zip(*np.nonzero(distances < distance), strict=True):
                yield int(start + row), int(column), orientation, float(distances[row, column])


def _orientations(descriptors: Descriptors) -> Iterator[Descriptors]:
    grids = descriptors.reshape(-1, _SIDE, _SIDE)
    for quarters in range(4):
        turned = np.rot90(grids, quarters, axes=(1, 2))
        for view in (turned, turned[:, :, ::-1]):
            yield view.reshape(len(descriptors), -1)


def _distances(rows: Descriptors, columns: Descriptors) -> Descriptors:
    row_energy, column_energy = (rows**2).sum(axis=1)[:, None], (columns**2).sum(axis=1)[None, :]
    differences = row_energy + column_energy - 2 * rows @ columns.T
    scale = np.maximum(np.sqrt(row_energy * column_energy), _SAME * rows.shape[1])
    return np.asarray(np.maximum(differences, 0) / (2 * scale), dtype=np.float32)
