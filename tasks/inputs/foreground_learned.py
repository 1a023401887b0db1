"""Where the object is, by a frozen network's features: AdaBLDM's foreground predictor, which it takes from CPR.

In: clean photographs of one category. Out: a classifier of feature cells, and by it one foreground mask a photograph.
Cells are clustered over all photographs together; the clusters that their borders show more than their insides are
background; a linear discriminant between the two (Fisher 1936), learned from these labels, then decides every cell.
Why: a grey level cannot tell a bright table from a bright object, texture and colour can.

Sources: AdaBLDM (Li et al., arXiv 2402.19330) and CPR (Li et al., arXiv 2308.06748), which cluster features of
EfficientNet-B0's second stage at 320 pixels. Here it is EfficientNet-Lite0, whose weights are a package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2, vq
from skimage.transform import resize

from tasks.contracts import Image, Mask
from tasks.inputs.foreground import or_whole, solid
from tasks.networks.device import HOST
from tasks.networks.lite0 import block_outputs
from tasks.seeds import derive, numpy_generator

_BLOCK = 2
"""The last of the second stage: 24 channels, a cell every 4 pixels."""
_SIDE = 320
"""Pixels a side to which photographs are brought for the network."""
_CLUSTERS = 6
_CLUSTERED_CELLS = 8000
"""Drawn from all cells to find the clusters' centres."""
_RING = 0.04
"""Of the side: the frame of cells that is taken for the border."""
_BORDER_SHARE = 0.5
"""How much of the border an object may cover, of its share of the inside; a texture covers as much of both."""
_RIDGE = 1e-3
"""Added to the features' variances within the classes, in which a unit is a feature's variance over all cells."""
_SMOOTHING = 1 / 128
"""Of the side: the standard deviation by which the score is smoothed."""

CellFeatures = NDArray[np.float32]
"""(cells, channels), or (images, rows, columns, channels)."""


@dataclass(frozen=True)
class CellClassifier:
    """A cell with features f belongs to the object where f . direction > threshold."""

    direction: NDArray[np.float64]
    threshold: float
    device: torch.device = HOST
    """Where the features are computed."""


def learn_cells(cleans: Sequence[Image], device: torch.device = HOST) -> CellClassifier | None:
    """Learn from clean photographs of one category, (size, size, 3) each; None where no background can be told.

    Deterministic. Raises DefectoryError where the network's weights are missing.
    """
    cells = np.stack([cell_features(clean, device) for clean in cleans])
    mean, scale = cells.mean(axis=(0, 1, 2)), cells.std(axis=(0, 1, 2)) + 1e-6
    scaled = (cells - mean) / scale
    background = background_cells(clusters_of(scaled))
    if background is None or background.all():
        return None
    direction, threshold = linear_discriminant(scaled[~background], scaled[background])
    direction = direction / scale
    return CellClassifier(direction, threshold + float(mean @ direction), device)


def find_by_cells(image: Image, model: CellClassifier | None) -> Mask:
    """The object's mask in one photograph (size, size, 3): without holes, all True where it cannot be told."""
    if model is None:
        return np.ones(image.shape[:2], dtype=bool)
    score = cell_features(image, model.device) @ model.direction - model.threshold
    fine = resize(score, image.shape[:2], order=1, mode="edge")
    return or_whole(solid(ndimage.gaussian_filter(fine, len(image) * _SMOOTHING) <= 0))


def cell_features(image: Image, device: torch.device = HOST) -> CellFeatures:
    """Cells (80, 80, 24) of one photograph."""
    (cells,) = block_outputs(image, _SIDE, (_BLOCK,), device)
    return np.ascontiguousarray(cells[0].permute(1, 2, 0).to(HOST).numpy())


def clusters_of(cells: CellFeatures) -> NDArray[np.int32]:
    """The K-means cluster of every cell of (images, rows, columns, channels)."""
    flat = cells.reshape(-1, cells.shape[-1])
    generator = numpy_generator(derive(0, "foreground"))
    drawn = flat[generator.permutation(len(flat))[:_CLUSTERED_CELLS]]
    centres, _ = kmeans2(drawn, _CLUSTERS, iter=20, minit="++", rng=generator)
    clusters: NDArray[np.int32] = vq(flat, centres)[0].reshape(cells.shape[:-1])
    return clusters


def background_cells(clusters: NDArray[np.int32]) -> Mask | None:
    """Which cells belong to a cluster that the border shows more than the inside; None where the rest is no object.

    `clusters` is (images, rows, columns).
    """
    width = max(1, round(_RING * clusters.shape[1]))
    border = np.ones(clusters.shape[1:], dtype=bool)
    border[width:-width, width:-width] = False
    on_border, inside = (_shares(clusters[:, where]) for where in (border, ~border))
    background = on_border > inside
    if on_border[~background].sum() > _BORDER_SHARE * inside[~background].sum():
        return None
    return np.asarray(background[clusters])


def _shares(clusters: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.bincount(clusters.ravel(), minlength=_CLUSTERS) / clusters.size


def linear_discriminant(objects: CellFeatures, background: CellFeatures) -> tuple[NDArray[np.float64], float]:
    """Fisher's direction S^-1 (m1 - m0) with S the mean covariance within the classes, and the score half-way."""
    means = [each.mean(axis=0, dtype=np.float64) for each in (objects, background)]
    spread = [len(each) * np.cov(each, rowvar=False, bias=True) for each in (objects, background)]
    within = (spread[0] + spread[1]) / (len(objects) + len(background)) + _RIDGE * np.eye(len(means[0]))
    direction = np.linalg.solve(within, means[0] - means[1])
    return direction, float(direction @ (means[0] + means[1]) / 2)
