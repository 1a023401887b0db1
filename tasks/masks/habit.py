"""Where a type's defects lie on the object, which way they run and how large they are: learned from its references.

In: the lies of a type's real masks, each in the coordinates of its own object. Out: a place, a direction and a size for
a shape on another object, drawn from a density around those seen, which is wide where there are few. A real mask goes
about where it was itself: what lies on a rim is bent as the rim is there. A defect is not anywhere: cracks begin at a
rim and run along a grain, and a detector that is trained on others learns another defect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, warp

from tasks.contracts import Lie, Mask
from tasks.masks.place import bounding_box
from tasks.masks.reference import COVERAGE
from tasks.params import MasksParams

_PLACE, _TURN, _SIZE = 0.2, np.deg2rad(30.0), 0.25
"""Spreads of place (of the object's sides), direction and logarithm of the size around a single reference; they fall
with the square root of the number of physical objects with one."""
_ELONGATED = 1.5
"""Length over width from which on a shape has a direction."""
_LARGEST_CHANGE = 3.0
"""Of a shape's size, either way: beyond it, it would be another shape."""
MOST = 0.9
"""Of a moved shape that must lie on the object; the rest runs off it, as real ones do."""


def lie_of(mask: Mask, foreground: Mask, group: str = "") -> Lie | None:
    """How a defect lies on its object; None for an empty mask or an object that was not found."""
    if not (mask.any() and foreground.any()):
        return None
    top, left, height, width = bounding_box(foreground)
    (row, column), direction = _middle_and_direction(mask)
    size = float(np.sqrt(mask.sum() / (height * width)))
    return Lie((row - top) / height, (column - left) / width, direction, size, group)


def observations_of(lies: Sequence[Lie]) -> int:
    """Physical objects; a lie of none that is known counts as one."""
    return len({lie.group for lie in lies if lie.group}) + sum(not lie.group for lie in lies)


def lay_like(
    mask: Mask,
    foreground: Mask,
    alike: Lie,
    observations: int,
    params: MasksParams,
    generator: np.random.Generator,
    sized: bool,
) -> tuple[Mask, NDArray[np.float64]] | None:
    """The shape on another object about as `alike` lies on its own, cut at the object's edge, and the (3, 3) motion of
    its (column, row) points. `mask` and `foreground` are of one size; `sized`: of about that size, too.

    `observations`: of how many objects the type's lies are known. `masks.rotation` and `masks.scale` overrule what was
    learned. None where too little of it lies on the object.
    """
    if not (mask.any() and foreground.any()):
        return None
    spread = 1 / np.sqrt(observations)
    top, left, height, width = bounding_box(foreground)
    row, column = (
        low + side * (share + generator.normal(0, _PLACE * spread))
        for low, side, share in ((top, height, alike.row), (left, width, alike.column))
    )
    (own_row, own_column), own_direction = _middle_and_direction(mask)
    turn = _turn(own_direction, alike, spread, params, generator)
    scale = _scale(mask, (height, width), alike, spread, params, generator, sized)
    motion = (
        SimilarityTransform(translation=(-own_column, -own_row))
        + SimilarityTransform(rotation=turn, scale=scale)
        + SimilarityTransform(translation=(column, row))
    )
    moved = warp(mask.astype(np.float64), motion.inverse, output_shape=foreground.shape, order=1)
    kept = (moved >= min(COVERAGE, float(moved.max()) or 1.0)) & foreground
    return (kept, motion.params) if kept.sum() > MOST * scale**2 * mask.sum() else None


def _turn(own: float | None, alike: Lie, spread: float, params: MasksParams, generator: np.random.Generator) -> float:
    """Radians; of two turns by which a line comes to another the smaller one."""
    if params.rotation is not None:
        return float(np.deg2rad(generator.uniform(-params.rotation, params.rotation)))
    if own is None or alike.direction is None:
        return float(generator.uniform(-np.pi, np.pi))
    turn = alike.direction + generator.normal(0, _TURN * spread) - own
    return float((turn + np.pi / 2) % np.pi - np.pi / 2)


def _scale(
    mask: Mask,
    box: tuple[int, int],
    alike: Lie,
    spread: float,
    params: MasksParams,
    generator: np.random.Generator,
    sized: bool,
) -> float:
    if params.scale is not None:
        return float(generator.uniform(*params.scale))
    if not sized:
        return 1.0
    own = np.sqrt(mask.sum() / (box[0] * box[1]))
    wanted = alike.size * np.exp(generator.normal(0, _SIZE * spread)) / own
    return float(np.clip(wanted, 1 / _LARGEST_CHANGE, _LARGEST_CHANGE))


def _middle_and_direction(mask: Mask) -> tuple[tuple[float, float], float | None]:
    """(row, column) of a mask's middle, and the direction of its long axis in radians from the columns, modulo pi."""
    points = np.argwhere(mask).astype(np.float64)
    middle = points.mean(axis=0)
    (short, long), axes = np.linalg.eigh(np.cov((points - middle).T, bias=True) if len(points) > 1 else np.eye(2))
    if long < _ELONGATED**2 * max(short, 1e-9) or long < 1:
        return (float(middle[0]), float(middle[1])), None
    row, column = axes[:, 1]
    return (float(middle[0]), float(middle[1])), float(np.arctan2(row, column) % np.pi)
