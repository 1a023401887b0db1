"""Examples for the tests of the evaluation: smooth grey surfaces, and dark discs as defects."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.contracts import CLEAN
from tasks.detectors.protocol import Arm, Example, TestSet

SIDE = 64


def normal(number: int, side: int = SIDE) -> Example:
    return Example(f"part/clean/{number}", _surface(number, side), CLEAN, group=f"clean {number}")


def defective(number: int, defect_type: str = "dent", side: int = SIDE, origin: str = "photograph") -> Example:
    """A surface with a disc: dark for a `dent`, bright for any other type."""
    generator = np.random.default_rng(1000 + number)
    row, column = generator.integers(side // 4, 3 * side // 4, 2)
    rows, columns = np.ogrid[:side, :side]
    mask = (rows - row) ** 2 + (columns - column) ** 2 < (side // 8) ** 2
    image = _surface(500 + number, side).astype(np.int16)
    image[mask] += -70 if defect_type == "dent" else 70
    levels = np.clip(image, 0, 255).astype(np.uint8)
    return Example(f"part/{defect_type}/{number}", levels, defect_type, mask, origin, group=f"{defect_type} {number}")


def arm(defects: int = 12, name: str = "discs") -> Arm:
    return Arm(name, "ours", tuple(map(normal, range(12))), tuple(map(defective, range(defects))))


def held_out(count: int = 6, first: int = 100) -> TestSet:
    numbers = range(first, first + count)
    return TestSet((*map(normal, numbers), *map(defective, numbers)))


def _surface(seed: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    levels = 128 + 12 * noise / noise.std()
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
