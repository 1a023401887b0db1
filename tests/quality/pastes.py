"""Pastes whose quality is known, for the tests of the scores."""

from __future__ import annotations

import numpy as np
from skimage import data

from tasks.contracts import Image, Mask
from tasks.training.closeup import paste


def photograph(left: int = 0) -> Image:
    """A textured RGB photograph, 256 x 256."""
    return data.astronaut()[200:456, left : left + 256].copy()


def plain(level: int = 150) -> Image:
    """A smooth product: one level with a little camera noise."""
    noise = np.random.default_rng(3).normal(0, 1.5, (256, 256, 1))
    return np.repeat(np.clip(level + noise, 0, 255), 3, axis=2).astype(np.uint8)


def disc(row: int = 128, column: int = 128, radius: int = 24) -> Mask:
    rows, columns = np.ogrid[:256, :256]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def sticker(clean: Image, mask: Mask, level: int) -> Image:
    """One level all over the mask, with a hard edge."""
    return np.where(mask[..., None], np.uint8(level), clean)


def blend(clean: Image, mask: Mask, level: int, feather: int) -> Image:
    """The same as the line pastes it: fading to nothing over the ring."""
    return paste(np.full_like(clean, level), clean, mask, feather)
