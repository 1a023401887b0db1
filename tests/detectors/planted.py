"""Small textured photographs, and the same with a blob that a detector ought to find."""

from __future__ import annotations

from functools import cache

import numpy as np
from skimage import data

from tasks.contracts import CLEAN, Image, Mask
from tasks.detectors.protocol import Arm, Example

SIZE = 64


@cache
def texture(number: int) -> Image:
    """(64, 64, 3) of gravel, another piece for each number."""
    top, left = np.random.default_rng(number).integers(0, 512 - SIZE, 2)
    return np.repeat(data.gravel()[top : top + SIZE, left : left + SIZE, None], 3, axis=2)


def disc(row: int, column: int, radius: float) -> Mask:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def normal(number: int) -> Example:
    return Example(f"normal {number}", texture(number), CLEAN)


def defect(number: int, defect_type: str = "blob", strength: float = 0.9, radius: float = 9) -> Example:
    """A smooth dark disc, or for "stain" a red one, anywhere in a texture of its own."""
    row, column = np.random.default_rng(1000 + number).integers(14, SIZE - 14, 2)
    mask = disc(int(row), int(column), radius)
    colour = np.array([200, 20, 20] if defect_type == "stain" else [25, 25, 25])
    painted = texture(500 + number) * (1 - strength) + colour * strength
    image = np.where(mask[..., None], painted, texture(500 + number)).astype(np.uint8)
    return Example(f"{defect_type} {number}", image, defect_type, mask, origin="planted")


def arm(normals: int = 10, defects: int = 8) -> Arm:
    return Arm("planted", "ours", tuple(map(normal, range(normals))), tuple(map(defect, range(defects))))


def ignore(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""
