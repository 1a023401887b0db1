"""Real shapes again: a reference mask, turned and scaled.

In: a defect's mask and a generator. Out: the mask under a random similarity, cropped to itself, and that motion.
Why: nothing looks more like a real defect's outline than one. Source: AdaBLDM (arXiv 2402.19330), which turns by
any angle and scales by 0.85 to 1.15 before it moves the mask inside the object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, warp

from tasks.contracts import DefectoryError, Mask
from tasks.masks.place import bounding_box, crop

COVERAGE = 0.45
"""A pixel belongs to the warped mask from this much on: a little under a half, so that thin lines stay whole."""

_MARGIN = 2


def warp_reference(
    mask: Mask, generator: np.random.Generator, scale: tuple[float, float], rotation: float
) -> tuple[Mask, NDArray[np.float64]]:
    """`mask` turned by up to `rotation` degrees either way and scaled by a factor in `scale`, cropped to itself.

    Also the homogeneous (3, 3) matrix that brings a (column, row) point of the mask's image to the crop, so that what
    lies inside the mask can be brought there, too. Raises DefectoryError for an empty mask.
    """
    if not mask.any():
        raise DefectoryError("a reference mask has no defect pixel; leave it out of the references")
    turn = SimilarityTransform(rotation=np.deg2rad(generator.uniform(-rotation, rotation)))
    motion = turn + SimilarityTransform(scale=generator.uniform(*scale))
    rows, columns = np.nonzero(mask)
    reached = motion(np.stack([columns, rows], axis=1))
    low = np.floor(reached.min(axis=0)) - _MARGIN
    width, height = (np.ceil(reached.max(axis=0)) + _MARGIN - low + 1).astype(int)
    motion = motion + SimilarityTransform(translation=-low)
    turned = warp(mask.astype(np.float64), motion.inverse, output_shape=(height, width), order=1)
    shape = turned >= min(COVERAGE, float(turned.max()))
    top, left, _, _ = bounding_box(shape)
    return crop(shape), (motion + SimilarityTransform(translation=(-left, -top))).params


def turn_reference(
    mask: Mask, foreground: Mask, generator: np.random.Generator, scale: tuple[float, float], rotation: float
) -> tuple[Mask, NDArray[np.float64]]:
    """`mask` where it was, scaled about its own middle and turned about the foreground's, and that motion.

    Both are of one size; the result is not cropped. For parts that all lie in one pose.
    """
    own, middle = _middle(mask), _middle(foreground)
    motion = (
        SimilarityTransform(translation=-own)
        + SimilarityTransform(scale=generator.uniform(*scale))
        + SimilarityTransform(translation=own - middle)
        + SimilarityTransform(rotation=np.deg2rad(generator.uniform(-rotation, rotation)))
        + SimilarityTransform(translation=middle)
    )
    turned = warp(mask.astype(np.float64), motion.inverse, order=1)
    return turned >= min(COVERAGE, float(turned.max()) or 1.0), motion.params


def _middle(mask: Mask) -> NDArray[np.float64]:
    """(column, row) of the middle of a mask's bounding box."""
    lines = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([(line[0] + line[-1]) / 2 for line in lines])
