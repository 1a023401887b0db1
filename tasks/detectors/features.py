"""Frozen features of EfficientNet-Lite0: what tiers 0 and 1 know of an image.

In: images at the evaluation's size. Out: a grid of cells each, of 152 numbers: block 4's 40 channels, and block 10's
112 brought from cells twice as large. Images are brought to twice their size, at most to 256 pixels a side: a cell
covers then 4 pixels of an image of up to 128, and there are never more than 32 x 32 cells.

Arms share their normal images and all of the test set, so features are kept for as long as there is room.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.transform import resize
from torch.nn import functional

from tasks.contracts import DefectoryError, Image, Mask
from tasks.networks.device import HOST
from tasks.networks.lite0 import block_outputs

CHANNELS = 152
_BLOCKS = (4, 10)
_LARGEST = 256
"""Pixels a side that the network sees at most."""
_MULTIPLE = 32
"""Of which the sides of images are one, so that cells end where pixels do."""
_STRIDE = 8
_SIGMA = 4 / 256
"""Standard deviation by which maps are smoothed, as a share of the side (PatchCore: 4 pixels of 256)."""

Cells = NDArray[np.float32]
"""(rows, columns, channels) of one image."""


class FeatureCache:
    """Cells by the bytes of their image and the device, in float16; those unused for longest make room."""

    def __init__(self, limit: int = 2**30) -> None:
        """`limit` in bytes; the default holds 3,400 images of 128 pixels or more."""
        self.limit = limit
        self.held = 0
        self._kept: OrderedDict[bytes, NDArray[np.float16]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def cells(self, image: Image, device: torch.device = HOST) -> Cells:
        """The image's cells, rounded to float16 whether they were kept or not."""
        key = hashlib.sha256(repr((image.shape, str(device))).encode() + image.tobytes()).digest()
        found = self._kept.pop(key, None)
        if found is None:
            found = _computed(image, device)
            self.held += found.nbytes
        self._kept[key] = found
        while self.held > self.limit:
            self.held -= self._kept.popitem(last=False)[1].nbytes
        return found.astype(np.float32)


_CACHE = FeatureCache()


def feature_cells(image: Image, device: torch.device = HOST) -> Cells:
    """Cells (rows, columns, 152) of one image, which depend on nothing else; 8 pixels of the enlarged image a side.

    Raises DefectoryError for an image that is not square or whose side is no multiple of 32.
    """
    return _CACHE.cells(image, device)


def _computed(image: Image, device: torch.device) -> NDArray[np.float16]:
    side = image.shape[0]
    if image.shape != (side, side, 3) or side % _MULTIPLE:
        raise DefectoryError(
            f"an image of shape {image.shape} to take features of; expected (side, side, 3) with a side that is a "
            f"multiple of {_MULTIPLE}: set evaluate.image_size to one"
        )
    fine, coarse = block_outputs(image, min(2 * side, _LARGEST), _BLOCKS, device)
    raised = functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
    joined = torch.cat([fine, raised], dim=1)[0].permute(1, 2, 0).half()
    return np.ascontiguousarray(joined.to(HOST).numpy())


def grid_of(side: int) -> int:
    """Cells a side of an image of `side` pixels."""
    return min(2 * side, _LARGEST) // _STRIDE


def neighbourhoods(cells: Cells) -> Cells:
    """The mean over three by three cells, (rows, columns, channels), around each cell or, at the border, beside it.

    Always of nine different cells: means of fewer would vary more, and corners of any texture would look anomalous.
    """
    inside = ndimage.uniform_filter(cells, size=(3, 3, 1))[1:-1, 1:-1]
    return np.pad(inside, ((1, 1), (1, 1), (0, 0)), mode="edge")


def coverage(mask: Mask) -> NDArray[np.float64]:
    """The share of each cell that the mask of a square image covers, (rows, columns), 0 to 1."""
    return np.asarray(block_reduce(mask.astype(np.float64), len(mask) // grid_of(len(mask)), np.mean))


def pooled(image: Image, mask: Mask | None = None, device: torch.device = HOST) -> NDArray[np.float32]:
    """(152,): the mean cell, weighted by how much of it the mask covers; of the whole image without a mask."""
    cells = feature_cells(image, device).reshape(-1, CHANNELS)
    weights = None if mask is None or not mask.any() else coverage(mask).ravel()
    return np.asarray(np.average(cells, axis=0, weights=weights), dtype=np.float32)


def to_map(scores: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    """Scores of cells (rows, columns) as a map (side, side): enlarged bilinearly, then smoothed."""
    fine = resize(scores.astype(np.float64), (side, side), order=1, mode="edge")
    return np.asarray(ndimage.gaussian_filter(fine, side * _SIGMA), dtype=np.float32)
