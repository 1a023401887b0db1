"""Test sets with drawn defects, and maps that find them more or less well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.contracts import CLEAN, Mask
from tasks.detectors.protocol import Example, Scored, TestSet


def make_test(masks: Sequence[Mask | None], defective: Sequence[bool], size: int = 32) -> TestSet:
    image = np.zeros((size, size, 3), dtype=np.uint8)
    return TestSet(
        tuple(
            Example(f"part/{number:03d}", image, "scratch" if bad else CLEAN, mask)
            for number, (mask, bad) in enumerate(zip(masks, defective, strict=True))
        )
    )


def random_masks(normals: int, defects: int, size: int, seed: int) -> NDArray[np.bool_]:
    """Normal images first; smooth blobs, often several, in each of the others."""
    noise = np.random.default_rng(seed).normal(size=(defects, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, size / 20, size / 20))
    top = np.quantile(smooth.reshape(defects, -1), 0.97, axis=1)
    return np.concatenate([np.zeros((normals, size, size), dtype=bool), smooth > top[:, None, None]])


def correlated_maps(masks: NDArray[np.bool_], strength: float, seed: int) -> NDArray[np.float32]:
    """Smooth noise, of another level in each image, raised where the defect is: found in part, with false alarms."""
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(generator.normal(size=masks.shape), (0, 2, 2)) * 5
    raised = ndimage.gaussian_filter(masks.astype(float), (0, 1, 1)) * strength
    return (noise + raised + generator.normal(size=(len(masks), 1, 1)) * 0.5).astype(np.float32)


def make_scored(maps: NDArray[np.float32]) -> Scored:
    return Scored(maps, maps.max(axis=(1, 2)))


def make_random(
    normals: int = 8, defects: int = 12, size: int = 32, strength: float = 2.0, seed: int = 0
) -> tuple[TestSet, Scored]:
    masks = random_masks(normals, defects, size, seed)
    bad = [number >= normals for number in range(len(masks))]
    given = [mask if is_bad else None for mask, is_bad in zip(masks, bad, strict=True)]
    return make_test(given, bad, size), make_scored(correlated_maps(masks, strength, seed + 1))
