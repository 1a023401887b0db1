"""CutPaste's shapes: turned rectangles, and scars.

In: an image size, a generator and limits on the area. Out: a mask cropped to the shape. Source: CutPaste (Li et al.,
CVPR 2021), section 2.2 and appendix: patches of 2 to 15 % of the image with an aspect ratio of 0.3 to 3.3, and scars
of 2 to 16 by 10 to 25 pixels at 256, turned by up to 45 degrees. Here patches are turned, too, and a scar too small for
the limits is drawn again by whoever asked for it.
"""

from __future__ import annotations

import math

import numpy as np

from tasks.contracts import Mask
from tasks.masks.place import crop

SCAR_REFERENCE_SIZE = 256
"""The image size that a scar's pixels are meant for."""
SCAR_SHARE = 0.4
"""Of the shapes, those that are scars; the others are patches."""
PATCH_AREA = (0.02, 0.15)
"""Of the image."""
ASPECT = (0.3, 3.3)
SCAR_WIDTH, SCAR_LENGTH = (2.0, 16.0), (10.0, 25.0)
MAX_TURN = math.pi / 4


def box_mask(size: int, generator: np.random.Generator, min_area: float, max_area: float, reach: float = 1.0) -> Mask:
    """One patch or scar for an image of `size` pixels a side, cropped to itself.

    `min_area` and `max_area` are shares of the image and bind patches beyond CutPaste's own limits. `reach` scales a
    patch's largest area down, for foregrounds too narrow for a large one.
    """
    if generator.uniform() < SCAR_SHARE:
        width, height = (generator.uniform(*side) * size / SCAR_REFERENCE_SIZE for side in (SCAR_WIDTH, SCAR_LENGTH))
    else:
        low, high = _limits(min_area, max_area, reach)
        area, aspect = generator.uniform(low, high) * size**2, math.exp(generator.uniform(*np.log(ASPECT)))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
    return turned_box(width, height, generator.uniform(-MAX_TURN, MAX_TURN))


def turned_box(width: float, height: float, angle: float) -> Mask:
    """A filled rectangle turned by `angle` radians, of `width` by `height` pixels, as a mask cropped to it."""
    reach = math.ceil(math.hypot(width, height) / 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    across = np.abs(math.cos(angle) * columns + math.sin(angle) * rows)
    along = np.abs(math.cos(angle) * rows - math.sin(angle) * columns)
    return crop((across <= max(width, 1.0) / 2) & (along <= max(height, 1.0) / 2))


def _limits(min_area: float, max_area: float, reach: float) -> tuple[float, float]:
    """CutPaste's limits within those that bind, which win where the two have nothing in common."""
    low, high = max(PATCH_AREA[0], min_area), min(PATCH_AREA[1], max_area)
    if low > high:
        return min_area, max_area
    return min_area + (low - min_area) * reach, low + (high - low) * reach
