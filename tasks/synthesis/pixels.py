"""What the systems without a model share: they paint one place at a time, in grey levels, on the CPU.

In: a function from a place to a picture. Out: `Painted`, with a strength that is the share of that picture against
the clean surface below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tasks.contracts import Image, Mask, Place
from tasks.synthesis.protocol import Painted

Levels = NDArray[np.float32]
"""Grey levels from 0 to 255, not rounded; (height, width, 3), or (pixels, 3)."""


def paint_each(places: Sequence[Place], picture: Callable[[Place], Levels]) -> Painted:
    """One picture a place, (height, width, 3) in grey levels; beyond the limits they are clipped."""
    levels = np.stack([picture(place) for place in places]).clip(0, 255) / 127.5 - 1
    return Painted(images=torch.from_numpy(levels.astype(np.float32)).permute(0, 3, 1, 2).contiguous())


def laid_over(clean: Image, picture: Levels | Image, mask: Mask, strength: float) -> Levels:
    """Inside the mask (1 - strength) of the clean image and strength of the picture; outside the clean image."""
    below = clean.astype(np.float32)
    below[mask] += np.float32(strength) * (picture[mask] - below[mask])
    return below


def mean_change(picture: Levels | Image, clean: Image, where: Mask) -> float:
    """The mean absolute difference in grey levels over the pixels of `where`."""
    return float(np.abs(picture[where].astype(np.float32) - clean[where]).mean())


def ring_around(mask: Mask) -> Mask:
    """The surface next to a mask, a 25th of the image wide."""
    near: Mask = ndimage.distance_transform_edt(~mask) <= max(2, len(mask) // 25)
    return near & ~mask
