"""Real shapes again: a reference mask, turned and scaled.

In: a defect's mask and a generator. Out: the mask under a random similarity, cropped to itself.
Why: nothing looks more like a real defect's outline than one. Source: AdaBLDM (arXiv 2402.19330), which turns by
any angle and scales by 0.85 to 1.15 before it moves the mask inside the object.
"""

from __future__ import annotations

import numpy as np
from skimage.transform import rescale, rotate

from tasks.contracts import DefectoryError, Mask
from tasks.masks.place import crop

COVERAGE = 0.45
"""A pixel belongs to the warped mask from this much on: a little under a half, so that thin lines stay whole."""


def warp_reference(mask: Mask, generator: np.random.Generator, scale: tuple[float, float], rotation: float) -> Mask:
    """`mask` turned by up to `rotation` degrees either way and scaled by a factor in `scale`, cropped to itself.

    Raises DefectoryError for an empty mask.
    """
    if not mask.any():
        raise DefectoryError("a reference mask has no defect pixel; leave it out of the references")
    angle = generator.uniform(-rotation, rotation)
    factor = generator.uniform(*scale)
    shape = np.pad(crop(mask), 2).astype(np.float64)
    turned = rotate(shape, angle, resize=True, order=1)
    warped = rescale(turned, factor, order=1, anti_aliasing=factor < 1)
    return crop(warped >= min(COVERAGE, float(warped.max())))
