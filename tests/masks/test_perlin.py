"""Perlin noise is what Perlin described, and what is kept of it is a few shapes of the wanted area."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tasks.masks.perlin import MAX_BLOBS, perlin_mask, perlin_noise, pick_blobs


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_noise_is_zero_at_lattice_points() -> None:
    """At an angle of 0 the lattice lies at share k / cells of the side beyond the square's enlarged corner."""
    cells, size = (8, 8), 4096 // 16
    noise = perlin_noise(size, cells, 0.0, _generator())
    position = ((np.arange(size) + 0.5) / size - 0.5 + np.sqrt(0.5)) * cells[0]
    near = np.abs(position - np.round(position)) < 0.5 * cells[0] / size
    assert near.any()
    assert np.abs(noise[np.ix_(near, near)]).max() < 0.05 < np.abs(noise).max()


@pytest.mark.parametrize("cells", [(1, 1), (4, 16), (32, 32)])
@pytest.mark.parametrize("angle", [0.0, 0.7, -1.5])
def test_noise_is_bounded_and_smooth(cells: tuple[int, int], angle: float) -> None:
    noise = perlin_noise(256, cells, angle, _generator())
    assert np.abs(noise).max() <= 1.0
    steepest = 4 * np.sqrt(2) * max(cells) / 256
    assert np.abs(np.diff(noise, axis=0)).max() < steepest
    assert np.abs(np.diff(noise, axis=1)).max() < steepest


def test_more_cells_make_smaller_blobs() -> None:
    counts = [ndimage.label(perlin_noise(256, (n, n), 0.3, _generator(5)) > 0.3)[1] for n in (2, 8, 32)]
    assert counts[0] < counts[1] < counts[2]


def test_picked_blobs_hold_the_limits() -> None:
    kept = 0
    for seed in range(150):
        generator = _generator(seed)
        noise = perlin_mask(128, generator)
        blobs = pick_blobs(noise, generator, 60, 1500)
        if blobs is None:
            continue
        kept += 1
        assert 60 <= blobs.sum() <= 1500
        assert ndimage.label(blobs)[1] <= MAX_BLOBS
        assert not (blobs & ~noise).any()
    assert kept > 40


def test_picked_blobs_are_whole() -> None:
    """A blob is taken or left, never cut."""
    mask = np.zeros((64, 64), dtype=bool)
    mask[4:14, 4:14] = mask[40:50, 40:44] = True
    for seed in range(20):
        blobs = pick_blobs(mask, _generator(seed), 40, 120)
        assert blobs is not None
        assert int(blobs.sum()) in (100, 40)


def test_nothing_to_pick() -> None:
    assert pick_blobs(np.zeros((8, 8), dtype=bool), _generator(), 1, 64) is None
    assert pick_blobs(np.ones((8, 8), dtype=bool), _generator(), 1, 60) is None
