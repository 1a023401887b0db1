"""Seam contrast: does the paste's border show?

In: a result, its clean twin and each pixel's distance to the intended mask. Out: one figure, 1 where nothing shows.
A defect's own edges are no seam, nor is the product's texture; what gives a paste away is a step that runs along the
border of the mask or of its feather ring. Where the mask is a thin line its border is the defect's own edge, a crack's
for instance, so only what is wider than six pixels has a border to judge.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import Image, Mask
from tasks.quality.change import distance_to, within

_BLEND = 6.0
"""Pixels over which an inconspicuous blend spreads its contrast."""
_THIN = 3.0
"""Pixels; half the width up to which a mask is a line."""
_NOISE = 1.0
"""Grey levels a pixel; keeps a flawless background from making any trace a seam."""

_Levels = NDArray[np.float32]


def seam_contrast(image: Image, clean: Image, distance: NDArray[np.float64], feather: int) -> float:
    """How many times steeper the paste's border is than a smooth blend of the same contrast would be.

    `distance` is that to the mask in pixels. With step(x, B) the mean absolute difference of neighbouring pixels on
    either side of a border B of x, in grey levels, the figure is the largest, over the borders at 0, 1, ..., feather
    pixels from the mask, of

        (step(image, B) + 1) / (step(clean, B) + texture + contrast / 6 + 1),

    where texture is how much rougher the inside became (step over all neighbours inside the mask, image less clean, at
    least 0) and contrast the mean absolute change inside. The borders nearer than 3 pixels leave out the lines of the
    mask, up to 6 pixels wide. An unchanged image has exactly 1; a blend over 6 pixels has about 1; a step of 60 grey
    levels along the border of a plain background has about 5. Without any border, or for an empty mask, it is 1.
    """
    inside = distance <= 0
    if not inside.any():
        return 1.0
    result, twin = image.astype(np.float32), clean.astype(np.float32)
    contrast = float(np.abs(result - twin)[inside].mean())
    texture = max(0.0, _roughness(result, inside) - _roughness(twin, inside))
    allowed = texture + contrast / _BLEND + _NOISE
    return max(_steepness(result, twin, region, allowed) for region in _regions(distance, feather))


def _regions(distance: NDArray[np.float64], feather: int) -> Iterator[Mask]:
    """The regions whose borders are judged, from the mask outwards."""
    core = distance_to(distance > 0) > _THIN
    wide = distance_to(distance_to(core) <= _THIN)
    for pixels in range(feather + 1):
        yield within(wide if pixels < _THIN else distance, pixels)


def _steepness(result: _Levels, twin: _Levels, region: Mask, allowed: float) -> float:
    """The step across the region's border in the result, over that in the twin and what is allowed on top."""
    across = [first ^ second for first, second in _neighbours(region)]
    if not any(pairs.any() for pairs in across):
        return 1.0
    return (_step(result, across) + _NOISE) / (_step(twin, across) + allowed)


def _roughness(levels: _Levels, region: Mask) -> float:
    return _step(levels, [first & second for first, second in _neighbours(region)])


def _step(levels: _Levels, pairs: list[Mask]) -> float:
    """The mean absolute difference over the chosen pairs of neighbours, and over channels; 0 where there is none."""
    steps = [np.abs(first - second)[chosen] for (first, second), chosen in zip(_neighbours(levels), pairs, strict=True)]
    together = np.concatenate(steps)
    return float(together.mean(dtype=np.float64)) if together.size else 0.0


def _neighbours(array: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """All pairs of neighbouring pixels: first those beside, then those above one another."""
    yield array[:, 1:], array[:, :-1]
    yield array[1:], array[:-1]
