"""Organic blobs: thresholded Perlin noise.

In: an image size and a generator. Out: a mask of the whole image, of which `pick_blobs` keeps one blob and
perhaps a few of its neighbours. Why: dead areas, stains and chips have smooth, irregular outlines.
Source: DRAEM (Zavrtanik et al., ICCV 2021) and SDAS (RealNet, CVPR 2024): cells an axis 2^{0..5}, a rotation
of up to 90 degrees either way, threshold 0.5; the mask is multiplied by the foreground by the caller.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.contracts import Mask

_Floats = NDArray[np.float64]

MAX_OCTAVE = 5
THRESHOLD = 0.5
OCTAVE_WEIGHTS = (1.0, 0.35, 0.2)
"""Of the noise and of its octaves, each with cells half as large, but no finer than the finest."""
MAX_ELONGATION = 2
"""Octaves by which the axes differ at most: longer streaks are the business of strokes."""
MAX_BLOBS = 4
MIN_BLOB_SHARE = 0.05
"""Of the smallest mask allowed: blobs below this are specks, not shapes."""


def perlin_noise(size: int, cells: tuple[int, int], angle: float, generator: np.random.Generator) -> _Floats:
    """Perlin noise of (size, size) in [-1, 1], with `cells` gradient cells along axes turned by `angle` radians.

    The noise is evaluated on turned coordinates rather than turned as a picture, so that no corner is empty
    and no edge is resampled.
    """
    axis = (np.arange(size) + 0.5) / size - 0.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    turned = (math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x)
    rows, columns = ((part + math.sqrt(0.5)) * count for part, count in zip(turned, cells, strict=True))
    lattice = [math.ceil(count * math.sqrt(2)) + 2 for count in cells]
    direction = generator.uniform(0, 2 * math.pi, lattice)
    return _interpolate(rows, columns, np.sin(direction), np.cos(direction))


def perlin_mask(size: int, generator: np.random.Generator) -> Mask:
    """A (size, size) mask of Perlin noise above the threshold; it may be empty.

    Weaker, finer octaves ride on the noise: without them, most outlines are plain ovals.
    """
    first, second = generator.integers(0, MAX_OCTAVE + 1, 2)
    cells = 2 ** np.array([first, np.clip(second, first - MAX_ELONGATION, first + MAX_ELONGATION)])
    angle = generator.uniform(-math.pi / 2, math.pi / 2)
    noise = np.zeros((size, size))
    for octave, weight in enumerate(OCTAVE_WEIGHTS):
        rows, columns = np.minimum(cells * 2**octave, 2**MAX_OCTAVE)
        noise += weight * perlin_noise(size, (int(rows), int(columns)), angle, generator)
    return noise > THRESHOLD


def pick_blobs(mask: Mask, generator: np.random.Generator, min_pixels: float, max_pixels: float) -> Mask | None:
    """One blob of `mask` and up to three of its nearest neighbours, or None where no choice fits the limits.

    The first is drawn with a probability in proportion to its area. The result holds `min_pixels` to `max_pixels`
    pixels in 1 to 4 connected blobs.
    """
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    fit = np.flatnonzero((sizes >= MIN_BLOB_SHARE * min_pixels) & (sizes <= max_pixels))
    fit = fit[fit > 0]
    if not len(fit):
        return None
    centres = np.array(ndimage.center_of_mass(mask, labels, fit))
    first = generator.choice(len(fit), p=sizes[fit] / sizes[fit].sum())
    nearest = fit[np.argsort(np.linalg.norm(centres - centres[first], axis=1), kind="stable")]
    chosen = _take(nearest, sizes, int(generator.integers(1, MAX_BLOBS)), min_pixels, max_pixels)
    return np.isin(labels, chosen) if sizes[chosen].sum() >= min_pixels else None


def _take(
    blobs: NDArray[np.int64], sizes: NDArray[np.int64], wanted: int, min_pixels: float, max_pixels: float
) -> list[int]:
    """The first of `blobs` and those after it, until `wanted` are taken and the least area is reached."""
    chosen: list[int] = []
    area = 0
    for blob in blobs[:MAX_BLOBS]:
        enough = len(chosen) >= wanted and area >= min_pixels
        if enough or area + sizes[blob] > max_pixels:
            break
        chosen.append(int(blob))
        area += int(sizes[blob])
    return chosen


def _interpolate(rows: _Floats, columns: _Floats, gradient_y: _Floats, gradient_x: _Floats) -> _Floats:
    """Each corner's gradient dotted with the way to it, blended with Perlin's quintic fade."""
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - row, columns - column

    def corner(below: int, beside: int) -> _Floats:
        at = (row + below, column + beside)
        return gradient_y[at] * (down - below) + gradient_x[at] * (right - beside)

    fade_down, fade_right = _fade(down), _fade(right)
    upper = corner(0, 0) * (1 - fade_right) + corner(0, 1) * fade_right
    lower = corner(1, 0) * (1 - fade_right) + corner(1, 1) * fade_right
    blended: _Floats = math.sqrt(2) * (upper * (1 - fade_down) + lower * fade_down)
    return blended


def _fade(t: _Floats) -> _Floats:
    return t * t * t * (t * (t * 6 - 15) + 10)
