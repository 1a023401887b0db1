"""What a paste changed, in pixels: the effective mask, the change inside the mask and the change outside its ring.

In: a result, its clean twin and the intended mask. The ring is the feather's width around the mask, over which the
result is blended into the clean image; outside mask and ring a good paste equals its clean twin bit for bit. Changes
are in grey levels, 0 to 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import disk

from tasks.contracts import Image, Mask

_GAP = 3 / 256
"""Of the image: half the width of a gap between changed pixels that is closed."""

_CROSS = ndimage.generate_binary_structure(2, 1)
"""A pixel and its four neighbours: their median drops lone pixels, yet keeps a line of one pixel's width."""


def distance_to(mask: Mask) -> NDArray[np.float64]:
    """The Euclidean distance of each pixel to the mask, in pixels: 0 inside it, infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask))


def within(distance: NDArray[np.float64], pixels: int) -> Mask:
    """The mask and the ring around it: the places at most so many pixels from the mask."""
    return distance <= pixels


def change(image: Image, clean: Image) -> NDArray[np.int16]:
    """The absolute difference of each pixel and channel, (height, width, 3)."""
    return np.abs(image.astype(np.int16) - clean.astype(np.int16))


def effective_mask(difference: NDArray[np.int16], reach: Mask, threshold: float) -> Mask:
    """Where the image visibly changed: a pixel of `reach` whose change is above `threshold`.

    `difference` is that of `change`; a pixel's change is its largest over the channels, then the median over the
    pixel and its four neighbours. `reach` is the intended mask and its ring.
    """
    largest = difference.max(axis=2)
    return (ndimage.median_filter(largest, footprint=_CROSS) > threshold) & reach


def without_holes(effective: Mask, mask: Mask) -> Mask:
    """The effective mask with its gaps inside the intended one closed: what lies in a defect is of it.

    A paste with a texture equals what was there before in a pixel here and there. Gaps of up to a few pixels' width
    are closed, and holes of any size, between pixels of `mask` that changed; nothing is added outside of it.
    """
    width = max(1, round(_GAP * len(mask)))
    # Beyond the image lies nothing: without a margin a closing would fill its border.
    padded = np.pad(effective & mask, width)
    closed = ndimage.binary_closing(padded, disk(width))[width:-width, width:-width]
    return effective | (ndimage.binary_fill_holes(closed) & mask)


def mean_where(values: NDArray[np.generic], where: Mask) -> float:
    """The mean over the pixels of `where` of `values`, (height, width) or (height, width, 3); 0 where there is none."""
    return float(values[where].mean(dtype=np.float64)) if where.any() else 0.0


def max_where(values: NDArray[np.generic], where: Mask) -> float:
    """The largest over the pixels of `where` of `values`, shaped likewise; 0 where there is none."""
    return float(values[where].max()) if where.any() else 0.0
