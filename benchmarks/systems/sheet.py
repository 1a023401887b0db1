"""The picture of all systems: samples down the side; the clean image, the mask and then the systems across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
from PIL import ImageDraw

from tasks.contracts import Image, Mask
from tasks.release.picture_grid import TILE, GridRow, draw_grid

_FRAME = (230, 60, 40)
_LEAST_SHOWN = 0.5
"""Of the image's side: no picture shows less."""

Box = tuple[int, int, int, int]


def draw_systems(
    title: str, samples: Sequence[tuple[str, Image, Mask]], columns: dict[str, list[Image]]
) -> PIL.Image.Image:
    """`samples` are (caption, clean image, mask) a row; `columns` hold the painted images of each system, row by row.

    The first picture of a row is the whole clean image; its frame is what the others show.
    """
    rows = []
    for number, (caption, clean, mask) in enumerate(samples):
        box = shown(mask)
        white = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
        painted = [images[number] for images in columns.values()]
        rows.append(GridRow(caption, [_framed(clean, box), *(_cut(image, box) for image in (white, clean, *painted))]))
    return draw_grid(title, ["clean, whole", "mask", "clean", *columns], rows)


def shown(mask: Mask) -> Box:
    """Left, top, right and bottom of the square around the mask, twice as wide as it, that lies in the image."""
    side, places = len(mask), np.argwhere(mask)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    width = int(np.clip(2 * (high - low).max(), round(_LEAST_SHOWN * side), side))
    top, left = np.clip((low + high - width) // 2, 0, side - width).tolist()
    return left, top, left + width, top + width


def _cut(image: Image, box: Box) -> PIL.Image.Image:
    return PIL.Image.fromarray(image).resize((TILE, TILE), PIL.Image.Resampling.LANCZOS, box=box)


def _framed(clean: Image, box: Box) -> PIL.Image.Image:
    whole = _cut(clean, (0, 0, len(clean), len(clean)))
    if box[2] - box[0] < len(clean):
        ImageDraw.Draw(whole).rectangle([edge * (TILE - 1) // len(clean) for edge in box], outline=_FRAME)
    return whole
