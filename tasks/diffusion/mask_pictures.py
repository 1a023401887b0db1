"""Masks as pictures that a latent diffusion model can learn and draw: white on black, and back.

In: real and pseudo-masks. Out: training pictures of them, turned, scaled and mirrored; and from a drawn picture a mask,
unless it is none. The published code turns by up to 20 degrees, and refuses masks that hug the image's border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import AffineTransform, warp

from tasks.contracts import Mask, ReferenceMask
from tasks.diffusion.composites import TrainingImage, flipped

Picture = NDArray[np.float32]
"""Grey, (height, width), about [-1, 1]."""

_TURN = 20.0
"""Degrees either way."""
_SCALE = (0.85, 1.15)
_BORDER_SHARE = 1 / 3
_SPECK_SHARE = 0.1
"""Of the largest part of a mask: smaller parts are the drawing's noise."""


def mask_pictures(references: Sequence[ReferenceMask], per_type: int, generator: Generator) -> list[TrainingImage]:
    """`per_type` pictures of each category and defect type; their own `mask` is the whole picture."""
    pictures = []
    for pair in sorted({(known.category, known.defect_type) for known in references}):
        known = [item for item in references if (item.category, item.defect_type) == pair]
        for number in range(per_type):
            shape = _moved(known[number % len(known)].mask, generator)
            picture = np.repeat(shape.astype(np.uint8)[..., None] * 255, 3, axis=2)
            whole = np.ones_like(shape)
            pictures.append(flipped(TrainingImage(picture, whole, whole, *pair), generator))
    return pictures


def _moved(mask: Mask, generator: Generator) -> Mask:
    """Turned and scaled about the mask's own middle; as it is where it would leave nothing."""
    middle = np.array(ndimage.center_of_mass(mask))[::-1]
    angle, scale = np.deg2rad(generator.uniform(-_TURN, _TURN)), generator.uniform(*_SCALE)
    turn = AffineTransform(translation=-middle) + AffineTransform(rotation=angle, scale=scale)
    turn = turn + AffineTransform(translation=middle)
    moved = warp(mask.astype(np.float32), turn.inverse, order=1) > 0.5
    return moved if moved.any() else mask


def mask_of(picture: Picture) -> Mask | None:
    """The white part of a picture; None for an empty one, or one that hugs the border."""
    mask = picture > 0
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        return None
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= _SPECK_SHARE * areas.max()) + 1
    mask = np.isin(parts, kept)
    return None if hugs_border(mask) else mask


def hugs_border(mask: Mask) -> bool:
    """Whether more than a third of any border row or column is on."""
    return max(float(line.mean()) for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) > _BORDER_SHARE
