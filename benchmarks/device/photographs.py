"""Made photographs, for a run that is given none: dark discs on a bright table, in the layout of MVTec AD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from tasks.seeds import numpy_generator

CATEGORY = "bottle"
"""Whose defects have a description."""
_TYPES = ("broken_large", "contamination")
_CLEAN, _DEFECTIVE = 8, 4


def make_photographs(folder: Path, side: int) -> Path:
    """The folder of the category."""
    category, generator = folder / CATEGORY, numpy_generator(0)
    for number in range(_CLEAN):
        _save(category / "train" / "good" / f"{number:03d}.png", _disc(generator, side))
    for name in _TYPES:
        for number in range(_DEFECTIVE):
            image, mask = _disc(generator, side), _spot(generator, side)
            image[mask] = 120 + image[mask] // 4
            _save(category / "test" / name / f"{number:03d}.png", image)
            _save(category / "ground_truth" / name / f"{number:03d}_mask.png", mask.astype(np.uint8) * 255)
    return category


def _disc(generator: np.random.Generator, side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side / 2
    levels = np.where(np.hypot(rows, columns) < 0.42 * side, 60, 220)[..., None]
    return np.clip(levels + generator.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)


def _spot(generator: np.random.Generator, side: int) -> np.ndarray:
    row, column = generator.uniform(0.35 * side, 0.65 * side, 2)
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - row, columns - column) < side * generator.uniform(0.08, 0.14)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
