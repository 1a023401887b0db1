"""The floor: what normal images alone can tell, by distance to the nearest known feature.

In: an arm's normal images, never its defects. Out: a bank of feature cells, and by it maps. This is PatchCore (Roth et
al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022) with EfficientNet-Lite0 in place of a wide
ResNet-50, so its figures are not those of the paper. Distances are taken in all 152 dimensions: the paper's random
projection to 128 pays where features have 1024. Beside it `dte_np`, the same idea for whole images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from tasks.contracts import DefectoryError, Image
from tasks.detectors.features import CHANNELS, feature_cells, grid_of, neighbourhoods, to_map
from tasks.detectors.protocol import Arm, Scored
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator

_WHOLE = 20_000
"""Cells up to which all are kept."""
_CANDIDATES = 60_000
"""Cells that a coreset is chosen from, at most, as many of each image."""
_CORESET = 4_000
_NEIGHBOURS = 5
"""Training images that the distance of a whole image is the mean of (DTE)."""

FeatureTable = NDArray[np.float32]
"""(rows, features)."""


@dataclass(frozen=True)
class MemoryBank:
    cells: FeatureTable
    """(cells, 152)."""
    device: torch.device = HOST
    """Where features are computed."""


def fit(arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> MemoryBank:
    """Remember the arm's normal images. Raises DefectoryError where it has none."""
    if not arm.normals:
        raise DefectoryError(f"arm {arm.name!r} has no normal image to remember; give it normals of the train split")
    generator = numpy_generator(derive(seed, "memory bank"))
    cells = np.concatenate(list(_candidates(arm, generator, device, report)))
    if len(cells) > _WHOLE:
        chosen, _ = greedy_coreset(cells, _CORESET, generator)
        cells = cells[chosen]
    return MemoryBank(cells, device)


def _candidates(
    arm: Arm, generator: np.random.Generator, device: torch.device, report: Report
) -> Iterator[FeatureTable]:
    share = max(1, _CANDIDATES // len(arm.normals))
    for number, example in enumerate(arm.normals):
        cells = _rows(example.image, device)
        yield cells[np.sort(generator.permutation(len(cells))[:share])]
        report(f"memory bank of {arm.name}", number + 1, len(arm.normals))


def _rows(image: Image, device: torch.device) -> FeatureTable:
    return neighbourhoods(feature_cells(image, device)).reshape(-1, CHANNELS)


def greedy_coreset(
    rows: FeatureTable, count: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The indices of `count` of the rows, spread out, and after each choice the largest distance to the nearest chosen.

    Begins with a row at random, then takes whichever is farthest from all chosen (Gonzalez 1985): at most twice the
    smallest possible distance is left.
    """
    energies = np.square(rows).sum(axis=1)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    chosen = [int(generator.integers(len(rows)))]
    radii = []
    for _ in range(count):
        last = chosen[-1]
        np.minimum(nearest, energies + energies[last] - 2 * (rows @ rows[last]), out=nearest)
        nearest[last] = 0
        farthest = int(nearest.argmax())
        radii.append(float(nearest[farthest]) ** 0.5)
        chosen.append(farthest)
    return np.array(chosen[:count]), np.array(radii)


def score(model: MemoryBank, images: Sequence[Image]) -> Scored:
    """The distance of each cell to the nearest in the bank, as maps; an image's score is its map's largest value."""
    maps = np.stack([to_map(_distances(model, image), len(image)) for image in images])
    return Scored(maps, maps.max(axis=(1, 2)))


def _distances(model: MemoryBank, image: Image) -> NDArray[np.float32]:
    """(rows, columns) of one image; by subtraction, so that a cell of the bank is exactly 0 from itself."""
    rows = _rows(image, model.device)
    nearest = model.cells[pairwise_distances_argmin(rows, model.cells)]
    return np.linalg.norm(rows - nearest, axis=1).reshape(grid_of(len(image)), -1)


def dte_np(training: FeatureTable, rows: FeatureTable) -> NDArray[np.float64]:
    """How anomalous rows (m, d) are beside training rows (n, d): (m,), at least 0.

    With r^2 the mean squared distance to the 5 nearest training rows, the score is r^2 / d, the mode of the posterior
    over the variance of noise that would lead here from them (DTE-NP; Livernoche et al., "On Diffusion Modeling for
    Anomaly Detection", ICLR 2024, whose code rounds it to a grid). Features are standardised by the training rows.
    """
    scaler = StandardScaler().fit(training)
    known = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(training))).fit(scaler.transform(training))
    distances, _ = known.kneighbors(scaler.transform(rows))
    return np.asarray(np.square(distances).mean(axis=1) / training.shape[1])
