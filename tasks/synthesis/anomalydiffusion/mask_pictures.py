"""The shapes of masks as pictures that a latent diffusion model can learn and draw: white on black, and back.

In: real and pseudo-masks. Out: training pictures of them; and from a drawn picture a mask, unless it is none. A shape
fills its picture, so that a scratch of a few pixels is drawn as well as a large stain. Where a mask is in the image is
not drawn: masks are placed anew for every sample. Its size is given back from a real mask of the type. As in the
published code a training shape is turned by up to 20 degrees, and what hugs the border is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize, rotate

from tasks.contracts import Mask, ReferenceMask
from tasks.masks.place import crop
from tasks.training.composites import TrainingImage, flipped

MaskPicture = NDArray[np.float32]
"""Grey and square, about [-1, 1]."""

_TURN = 20.0
"""Degrees either way."""
_MARGIN = 1 / 8
"""Of a picture's side, left black around a shape."""
_BORDER_SHARE = 1 / 3
_SOFTNESS = 0.7
"""Pixels: a codec made for photographs gives soft edges back more truly than hard ones."""
_TRACE = 0.25
"""Of a pixel: covered so far, it belongs to the shape's box."""
_SPECK_SHARE = 0.05
"""Of the largest part of a mask: smaller parts are the drawing's noise."""


def mask_pictures(
    references: Sequence[ReferenceMask], per_type: int, side: int, generator: Generator
) -> list[TrainingImage]:
    """`per_type` pictures of each category and defect type; their own `mask` is the whole picture."""
    pictures = []
    whole = np.ones((side, side), bool)
    for pair in sorted({(known.category, known.defect_type) for known in references}):
        known = [item for item in references if (item.category, item.defect_type) == pair]
        for number in range(per_type):
            levels = picture_of(known[number % len(known)].mask, side, generator.uniform(-_TURN, _TURN))
            image = np.repeat(np.rint((levels[..., None] + 1) * 127.5), 3, axis=2).astype(np.uint8)
            pictures.append(flipped(TrainingImage(image, whole, whole, *pair), generator))
    return pictures


def picture_of(mask: Mask, side: int, turn: float = 0.0) -> MaskPicture:
    """The shape of a mask, turned by so many degrees, as large as the margins of a picture of this side allow."""
    shape = crop(mask)
    larger = np.kron(shape, np.ones((-(-side // max(shape.shape)),) * 2, np.float32))
    turned = rotate(larger, turn, resize=True, order=1)
    shape = turned[_box(turned > _TRACE)]
    inner = round(side * (1 - 2 * _MARGIN))
    height, width = (max(1, round(inner * length / max(shape.shape))) for length in shape.shape)
    picture = np.full((side, side), -1, np.float32)
    picture[_middle(side, height), _middle(side, width)] = 2 * resize(shape, (height, width), order=1) - 1
    return ndimage.gaussian_filter(picture, _SOFTNESS)


def mask_of(picture: MaskPicture, like: Mask) -> Mask | None:
    """The shape in a picture, in the middle of an image, no longer and no larger than the real mask `like`.

    None for an empty picture, and for one whose shape hugs the border.
    """
    drawn = picture > 0
    if not drawn.any() or hugs_border(drawn):
        return None
    drawn = _without_specks(drawn)
    shape = np.where(drawn, picture, np.minimum(picture, 0))[_box(drawn)]
    # Both, for a real mask may be two dots far apart, or a scratch where a stain was drawn.
    zoom = min(longest_side(like) / max(shape.shape), float(np.sqrt(like.sum() / drawn.sum())))
    height, width = (max(1, round(zoom * length)) for length in shape.shape)
    mask = np.zeros_like(like)
    place = tuple(map(_middle, like.shape, (height, width)))
    mask[place] = resize(shape, (height, width), order=1) > 0
    return mask if mask.any() else None


def hugs_border(mask: Mask) -> bool:
    """Whether more than a third of any border row or column is on."""
    return max(float(line.mean()) for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) > _BORDER_SHARE


def longest_side(mask: Mask) -> int:
    """Of the bounding box of a non-empty mask, in pixels."""
    return max(crop(mask).shape)


def _box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _middle(whole: int, part: int) -> slice:
    return slice((whole - part) // 2, (whole - part) // 2 + part)


def _without_specks(mask: Mask) -> Mask:
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(parts.ravel())[1:]
    return np.isin(parts, np.flatnonzero(areas >= _SPECK_SHARE * areas.max()) + 1)
