"""Where a shape goes: moved by rejection until it lies inside the foreground.

In: a shape and a foreground. Out: a mask of the foreground's size within it, or None.
Why: a defect off the object is a wrong label (AdaBLDM's rejection loop; the commonest complaint about painters).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.contracts import Mask

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def place_mask(mask: Mask, foreground: Mask, generator: np.random.Generator, max_tries: int) -> Mask | None:
    """The shape in `mask`, moved so that all of it lies in `foreground`, or None after `max_tries` misses.

    Positions are uniform over those where the shape's bounding box lies in the foreground's.
    """
    if not (mask.any() and foreground.any()):
        return None
    shape = crop(mask)
    low, high = _corner_range(shape, foreground)
    if (high < low).any():
        return None
    for _ in range(max_tries):
        top, left = generator.integers(low, high + 1)
        window = (slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1]))
        if foreground[window][shape].all():
            placed = np.zeros_like(foreground)
            placed[window] = shape
            return placed
    return None


def cut_mask(mask: Mask, foreground: Mask, generator: np.random.Generator) -> Mask | None:
    """The shape in `mask`, centred on a random foreground pixel and cut at the foreground's edge.

    The largest connected piece is kept, so a crack may run off the object, as real ones do. None where nothing
    is left.
    """
    if not (mask.any() and foreground.any()):
        return None
    rows, columns = np.nonzero(crop(mask))
    centre = generator.choice(np.argwhere(foreground))
    rows, columns = rows - np.ptp(rows) // 2 + centre[0], columns - np.ptp(columns) // 2 + centre[1]
    inside = (rows >= 0) & (rows < foreground.shape[0]) & (columns >= 0) & (columns < foreground.shape[1])
    placed = np.zeros_like(foreground)
    placed[rows[inside], columns[inside]] = True
    return _largest_piece(placed & foreground)


def crop(mask: Mask) -> Mask:
    """The part of a non-empty mask within its bounding box."""
    top, left, height, width = bounding_box(mask)
    return mask[top : top + height, left : left + width]


def bounding_box(mask: Mask) -> tuple[int, int, int, int]:
    """Top, left, height and width of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _corner_range(shape: Mask, foreground: Mask) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest top-left corner that keeps the shape in the foreground's bounding box."""
    occupied = np.argwhere(foreground)
    return occupied.min(axis=0), occupied.max(axis=0) + 1 - shape.shape


def _largest_piece(mask: Mask) -> Mask | None:
    labels, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    if not count:
        return None
    largest: Mask = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return largest
