"""Small inputs for the tests of masks and plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.contracts import TRAIN, InputImage, Mask, ReferenceMask, SampleSpec
from tasks.inputs.dataset import Inputs

SIZE = 128


def disc(radius: float = 45.0, size: int = SIZE) -> Mask:
    return _distance(size) < radius


def ring(size: int = SIZE) -> Mask:
    return (_distance(size) < 60) & (_distance(size) > 40)


def image(image_id: str, split: str = TRAIN, mask: Mask | None = None, foreground: Mask | None = None) -> InputImage:
    """An image whose id is `<category>/<defect_type>/<stem>`."""
    category, defect_type, _ = image_id.split("/")
    front = np.ones((SIZE, SIZE), dtype=bool) if foreground is None else foreground
    pixels = np.zeros((*front.shape, 3), dtype=np.uint8)
    return InputImage(
        image_id, category, defect_type, split, image_id, pixels, mask, front, "0" * 64, image_id, "test", "CC0-1.0"
    )


def spec(source: str, seed: int, defect_type: str = "crack", category: str = "cell") -> SampleSpec:
    return SampleSpec(
        f"{category}-{seed:06d}", "tests", category, defect_type, seed, f"{category}/clean/0", source, 2.0, seed
    )


def reference(reference_id: str, mask: Mask, pseudo: bool = False) -> ReferenceMask:
    category, defect_type, _ = reference_id.split("/")
    return ReferenceMask(reference_id, category, defect_type, mask, pseudo)


def listed(images: Sequence[InputImage], sha256: str = "inputs") -> Inputs:
    return Inputs(tuple(images), (), sha256)


def _distance(size: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(rows, columns)
