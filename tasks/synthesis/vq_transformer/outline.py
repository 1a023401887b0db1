"""Masks as outlines: brought to one small square whatever their size, which is kept as a number beside them.

In: masks at image size. Out: outlines (side, side) with room around the shape, the share of the image that their
square spans, and the octave of their area. Why: a codec of few tokens can so be exact for specks and for blotches
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.random import Generator
from scipy import ndimage

from tasks.contracts import Mask
from tasks.masks.place import EIGHT_NEIGHBOURS, crop
from tasks.masks.reference import COVERAGE, warp_reference

AREA_BINS = 12
_ROOM = 1.3
"""The square's side against the shape's longer one."""
_SPECK_SHARE = 0.04
"""Of the outline's area: smaller pieces are taken for noise of the codec."""
_BEND = 0.05
_BEND_SMOOTHNESS = 0.15
"""In shares of the square: how far outlines are bent in augmentation, and over which lengths."""


@dataclass(frozen=True)
class Outline:
    mask: Mask
    """(side, side)."""
    span: float
    """Of the outline's square, against the image's side; above 1 for a shape as long as the image."""
    area_bin: int
    """The octave of the mask's area: 0 is half of the image and more, each further one half of the one before."""


def outline_of(mask: Mask, side: int, image_size: int) -> Outline:
    """`mask` is not empty; its own size does not matter."""
    shape = crop(mask)
    span = int(np.ceil(_ROOM * max(shape.shape)))
    square = np.zeros((span, span), bool)
    top, left = ((span - length) // 2 for length in shape.shape)
    square[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    octave = int(-np.log2(shape.sum() / image_size**2))
    return Outline(_resized(square, side), span / image_size, min(max(octave, 0), AREA_BINS - 1))


def augmented(mask: Mask, side: int, generator: Generator) -> Outline:
    """The outline of a shape like this one: turned, mirrored, a little larger or smaller, and bent."""
    shape, _ = warp_reference(mask, generator, (0.8, 1.25), 180.0)
    if generator.uniform() < 0.5:
        shape = shape[:, ::-1]
    outline = outline_of(shape, side, len(mask))
    bent = _bent(outline.mask, generator)
    return Outline(bent if bent.any() else outline.mask, outline.span, outline.area_bin)


def place_outline(outline: Mask, span: float, image_size: int) -> Mask | None:
    """The outline at its size in the middle of an image; None for one that is empty or hugs its square's border.

    A shape that the border cuts is none that a defect has.
    """
    pieces = _without_specks(outline)
    if not pieces.any() or pieces[[0, -1]].any() or pieces[:, [0, -1]].any():
        return None
    shape = crop(_resized(pieces, max(2, round(span * image_size))))
    if max(shape.shape) > image_size:
        return None
    mask = np.zeros((image_size, image_size), bool)
    top, left = ((image_size - length) // 2 for length in shape.shape)
    mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return mask


def _resized(mask: Mask, side: int) -> Mask:
    """A square mask at another size; a pixel covered a little less than half counts, so that thin lines stay whole."""
    cover = PIL.Image.fromarray(mask.astype(np.float32)).resize((side, side), PIL.Image.Resampling.BILINEAR)
    covered = np.asarray(cover)
    return covered >= min(COVERAGE, float(covered.max()) or 1.0)


def _bent(mask: Mask, generator: Generator) -> Mask:
    side = len(mask)
    noise = ndimage.gaussian_filter(generator.standard_normal((2, side, side)), (0, *[_BEND_SMOOTHNESS * side] * 2))
    shift = noise / np.abs(noise).max() * _BEND * side * generator.uniform()
    return ndimage.map_coordinates(mask.astype(np.float32), np.indices(mask.shape) + shift, order=1) > COVERAGE


def _without_specks(mask: Mask) -> Mask:
    pieces, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas >= max(1.0, _SPECK_SHARE * areas.sum()))[pieces] & mask
