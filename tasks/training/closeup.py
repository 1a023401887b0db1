"""Small defects in a magnified view: crop around the mask, synthesise at scale, put back.

A defect of a few latent cells vanishes in every latent method (the worst published numbers are those on small
defects). So a mask that touches few cells is painted in a square window of the image, magnified to the full size, and
the result is shrunk and pasted back. To a system, a view is a place like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import PIL.Image
from scipy import ndimage

from tasks.contracts import Image, Mask, Place

_MAGNIFICATIONS = (2, 4)
_MARGIN = 8
"""Pixels around the mask that a window must hold."""
_Resampling = PIL.Image.Resampling

CELL = 8
"""Pixels a side of one latent cell."""


@dataclass(frozen=True)
class Window:
    """A square part of an image, `side` pixels wide, that is magnified to the image's own size."""

    top: int
    left: int
    side: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def cells_touched(mask: Mask) -> int:
    """How many latent cells of 8 x 8 pixels the mask touches; (height, width) are multiples of 8."""
    height, width = mask.shape
    return int(mask.reshape(height // CELL, CELL, width // CELL, CELL).any(axis=(1, 3)).sum())


def window_for(mask: Mask, least_cells: int) -> Window | None:
    """The widest window in which the mask touches at least `least_cells` cells; None where the image does already.

    A mask too small for the highest magnification gets that one; one too long for any window stays as it is.
    """
    if not mask.any() or cells_touched(mask) >= least_cells:
        return None
    fitting = [window for zoom in _MAGNIFICATIONS if (window := _centred(mask, len(mask) // zoom)) is not None]
    for window in fitting:
        if cells_touched(magnify_mask(mask, window)) >= least_cells:
            return window
    return fitting[-1] if fitting else None


def _centred(mask: Mask, side: int) -> Window | None:
    """The window of this side around the mask's middle, moved into the image; None where the mask does not fit."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if max(np.ptp(rows), np.ptp(columns)) + 1 + 2 * _MARGIN > side:
        return None
    top, left = ((int(line[0] + line[-1]) - side + 1) // 2 for line in (rows, columns))
    furthest = len(mask) - side
    return Window(min(max(top, 0), furthest), min(max(left, 0), furthest), side)


def magnify_image(image: Image, window: Window) -> Image:
    picture = PIL.Image.fromarray(np.ascontiguousarray(image[window.slices]))
    return np.asarray(picture.resize((len(image), len(image)), _Resampling.BICUBIC))


def magnify_mask(mask: Mask, window: Window) -> Mask:
    zoom = len(mask) // window.side
    return mask[window.slices].repeat(zoom, axis=0).repeat(zoom, axis=1)


def view_of(place: Place, window: Window) -> Place:
    """The place as it is seen through the window, magnified to the image's size."""
    clean = replace(
        place.clean,
        image=magnify_image(place.clean.image, window),
        foreground=magnify_mask(place.clean.foreground, window),
        mask=None,
    )
    motion = place.drawn.motion
    if motion is not None:
        zoom = len(place.mask) / window.side
        # Pixel centres lie at whole numbers: the first magnified pixel's is left of the first pixel's.
        edge = (zoom - 1) / 2
        seen = [[zoom, 0, edge - zoom * window.left], [0, zoom, edge - zoom * window.top], [0, 0, 1]]
        motion = np.array(seen) @ motion
    return Place(place.spec, clean, replace(place.drawn, mask=magnify_mask(place.mask, window), motion=motion))


def put_back(result: Image, place: Place, window: Window, feather: int) -> Image:
    """The clean image with what the view changed, shrunk, added in its window; beyond mask and feather it stays.

    The difference alone is shrunk: an image that was magnified and shrunk has lost some of its grain.
    """
    changed = result.astype(np.float32) - magnify_image(place.clean.image, window)
    zoom = len(result) // window.side
    shrunk = changed.reshape(window.side, zoom, window.side, zoom, 3).mean(axis=(1, 3))
    whole = place.clean.image.copy()
    whole[window.slices] = np.rint(np.clip(whole[window.slices] + shrunk, 0, 255)).astype(np.uint8)
    return paste(whole, place.clean.image, place.mask, feather)


def feather_weights(mask: Mask, feather: int) -> np.ndarray:
    """1 on the mask, falling along a half cosine, exactly 0 beyond `feather` pixels; float32 (height, width)."""
    distance = ndimage.distance_transform_edt(~mask)
    ramp = np.clip(distance / (feather + 1), 0.0, 1.0)
    return np.where(distance > feather, 0.0, 0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)


def paste(result: Image, clean: Image, mask: Mask, feather: int) -> Image:
    """The result on the mask, the clean image beyond the feather ring bit for bit, and a blend between."""
    weight = feather_weights(mask, feather)[..., None]
    mixed = weight * result.astype(np.float32) + (1 - weight) * clean.astype(np.float32)
    return np.where(weight > 0, np.rint(mixed), clean).astype(np.uint8)
