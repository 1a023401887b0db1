"""Where the object is in a photograph, so that defects are drawn on the product and not beside it.

In: a few clean photographs of a category, then any of its photographs. Out: one foreground mask each. What is
learned is a level between background and object, relative to each photograph's own exposure, so that it holds for
dark and bright photographs alike; and where all objects lie alike, their common outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import disk

from tasks.contracts import Image, Mask

_RING = 0.01
"""Of the side: the frame of pixels that is taken for background."""
_OPENING = 0.02
"""Of the side: background narrower than twice this is part of the object (busbars, scratches, dark grains)."""
_LEVELS = (0.2, 0.6)
"""Of the way from background to object: where the learned level may lie. Texture must not be cut apart."""
_ENDS = (5, 95)
"""Percentiles that stand for the dark and the bright end of a photograph; an object covers at least as much."""
_MIN_CONTRAST = 8.0
"""Grey levels between background and object, below which there is no telling them apart."""
_MIN_PIECE = 0.1
"""Of the largest piece: smaller ones are dirt on the table."""
_FIXTURED = 0.9
"""Median intersection over union with the average's outline, from which on all objects are said to lie alike."""
_PLAUSIBLE = (0.05, 0.97)
"""Of the image: a foreground beyond this is a failure, and the whole image is taken."""

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class ForegroundModel:
    """How a category's object is told from its background. `level` None: the object fills the image."""

    level: float | None
    """Of the way from the background's grey level to the object's."""
    brighter: bool = True
    """Whether the object is brighter than its background."""
    outline: Mask | None = None
    """Object in every photograph; None where objects lie differently. It keeps dark texture at the rim inside."""


WHOLE_IMAGE = ForegroundModel(level=None)


def learn_foreground(cleans: Sequence[Image], kind: Literal["otsu", "whole"]) -> ForegroundModel:
    """Learn from clean photographs of one category, (size, size, 3) each.

    Background is what the border of most photographs shows. The level is Otsu's (1979) on the average photograph,
    in which texture is averaged out and background and object remain.
    """
    if kind == "whole":
        return WHOLE_IMAGE
    greys = [_grey(clean) for clean in cleans]
    brighter = bool(np.median([_is_brighter(grey) for grey in greys]) > 0.5)
    relative = [scaled for scaled in (_relative(grey, brighter) for grey in greys) if scaled is not None]
    if len(relative) * 2 < len(greys):
        return WHOLE_IMAGE
    average = np.mean(relative, axis=0)
    level = float(np.clip(threshold_otsu(average), *_LEVELS))
    return ForegroundModel(level, brighter, _common_outline(average, relative, level))


def find_foreground(image: Image, model: ForegroundModel) -> Mask:
    """The object's mask in one photograph (size, size, 3): without holes, all True where it cannot be told."""
    whole: Mask = np.ones(image.shape[:2], dtype=bool)
    if model.level is None:
        return whole
    relative = _relative(_grey(image), model.brighter)
    if relative is None:
        return whole
    found = _object(relative, model.level)
    if model.outline is not None:
        found |= model.outline
    return or_whole(found)


def _common_outline(average: Grey, relative: Sequence[Grey], level: float) -> Mask | None:
    outline = _object(average, level)
    found = [_object(each, level) for each in relative]
    overlaps = [(outline & each).sum() / max(1, (outline | each).sum()) for each in found]
    return outline if np.median(overlaps) >= _FIXTURED else None


def _object(relative: Grey, level: float) -> Mask:
    background = _open(relative < level, round(_OPENING * len(relative)))
    return solid(background)


def solid(background: Mask) -> Mask:
    """The object before this background: what the background encloses belongs to it, small pieces do not."""
    return _large_pieces(~_touching_border(background))


def or_whole(found: Mask) -> Mask:
    """The foreground that was found; all True where it is too small or too large to be one."""
    return found if _PLAUSIBLE[0] <= found.mean() <= _PLAUSIBLE[1] else np.ones_like(found)


def _grey(image: Image) -> Grey:
    grey: Grey = ndimage.gaussian_filter(image.mean(axis=2, dtype=np.float32), sigma=len(image) / 256)
    return grey


def _ring(grey: Grey) -> Grey:
    width = max(1, round(_RING * len(grey)))
    inner = np.zeros(grey.shape, dtype=bool)
    inner[width:-width, width:-width] = True
    return grey[~inner]


def _is_brighter(grey: Grey) -> bool:
    """Whether the bright end of a photograph is further from its background than the dark end."""
    dark, bright = np.percentile(grey, _ENDS)
    background = np.median(_ring(grey))
    return bool(bright - background > background - dark)


def _relative(grey: Grey, brighter: bool) -> Grey | None:
    """Grey levels with the photograph's background at 0 and its object at 1; None without contrast."""
    background = np.median(_ring(grey))
    contrast = np.percentile(grey, _ENDS[brighter]) - background
    if (contrast if brighter else -contrast) < _MIN_CONTRAST:
        return None
    return np.asarray((grey - background) / contrast, dtype=np.float32)


def _open(mask: Mask, radius: int) -> Mask:
    """Morphological opening, as if the image went on beyond its border."""
    padded = np.pad(mask, 2 * radius, mode="edge")
    opened = ndimage.binary_opening(padded, disk(radius))
    return np.asarray(opened[2 * radius : -2 * radius, 2 * radius : -2 * radius], dtype=bool)


def _touching_border(mask: Mask) -> Mask:
    pieces, _ = ndimage.label(mask)
    border = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    return np.asarray(np.isin(pieces, border[border > 0]), dtype=bool)


def _large_pieces(mask: Mask) -> Mask:
    pieces, _ = ndimage.label(mask)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    return np.asarray(np.isin(pieces, np.flatnonzero(areas >= max(1, _MIN_PIECE * areas.max()))), dtype=bool)
