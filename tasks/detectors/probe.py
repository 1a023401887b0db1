"""Tier 1's localiser: a linear probe that tells cells inside defects from normal ones, on frozen features.

In: an arm's normal and defective images with masks. Out: a map of log-odds of a defect. A training takes seconds, since
only a logistic regression is trained. The design is this project's own, so it is a stand-in for a network trained from
scratch until it is shown to rank arms as that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tasks.contracts import DefectoryError, Image, Mask
from tasks.detectors.features import CHANNELS, Cells, coverage, feature_cells, grid_of, neighbourhoods, to_map
from tasks.detectors.protocol import Arm, Example, Scored
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator

_COVERED = 0.5
"""The share of a cell from which on it is part of a defect."""
_NORMAL, _PARTLY, _DEFECT = 0, 1, 2
_BRIGHTEST = 0.01
"""The share of a map's pixels whose mean is the image's score."""
_ROUNDS = 1000
"""Of the optimiser, at most."""

Labels = NDArray[np.int8]
Chosen = NDArray[np.bool_]
"""Both (rows, columns) of one image."""


@dataclass(frozen=True)
class LinearProbe:
    """A cell with features f has log-odds f . direction + offset of a defect."""

    direction: NDArray[np.float64]
    """(304,)."""
    offset: float
    device: torch.device = HOST
    """Where features are computed."""


def fit(arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> LinearProbe:
    """Train on cells drawn from the arm, origins of defects in equal shares and weighing as much together as normals.

    Raises DefectoryError where the arm has no normal image, no defect, or a defect without a mask.
    """
    check_masks(arm)
    examples = [*arm.normals, *arm.defects]
    labels = [_labels(example) for example in examples]
    origins = sorted({defect.origin for defect in arm.defects})
    groups = [_groups(example, found, origins) for example, found in zip(examples, labels, strict=True)]
    most = [params.probe.normal_cells, *[-(-params.probe.defect_cells // len(origins))] * len(origins)]
    chosen = draw_cells(groups, most, numpy_generator(derive(seed, "probe")))
    rows, members = [], []
    for number, (example, group, taken) in enumerate(zip(examples, groups, chosen, strict=True)):
        if taken.any():
            rows.append(described(example.image, device)[taken])
            members.append(group[taken])
        report(f"probe of {arm.name}", number + 1, len(examples))
    direction, offset = _trained(np.concatenate(rows), np.concatenate(members), params.probe.regularisation)
    return LinearProbe(direction, offset, device)


def check_masks(arm: Arm) -> None:
    """DefectoryError unless the arm has normal images, and defects with a mask each."""
    if not arm.normals:
        raise DefectoryError(f"arm {arm.name!r} has no normal image; give it normals of the train split")
    if not arm.defects:
        raise DefectoryError(
            f"arm {arm.name!r} has no defect to learn from; score it by the memory bank, which needs normal images only"
        )
    bare = [defect.example_id for defect in arm.defects if defect.mask is None or not defect.mask.any()]
    if bare:
        raise DefectoryError(
            f"arm {arm.name!r}: {len(bare)} defects have no mask or an empty one, {bare[0]} for one; expected a mask "
            "each: leave them out or give them pseudo-masks"
        )


def described(image: Image, device: torch.device = HOST) -> Cells:
    """(rows, columns, 304): each cell's features and the means of its neighbourhood."""
    cells = feature_cells(image, device)
    return np.concatenate([cells, neighbourhoods(cells)], axis=-1)


def cell_labels(mask: Mask) -> Labels:
    """Which cells a defect's mask leaves normal (0), covers by less than half (1), or by half at least (2).

    Where it covers none by half, the one it covers most is taken for covered.
    """
    covered = coverage(mask)
    labels = np.where(covered >= _COVERED, _DEFECT, np.where(covered > 0, _PARTLY, _NORMAL)).astype(np.int8)
    if mask.any() and not (labels == _DEFECT).any():
        labels[np.unravel_index(covered.argmax(), covered.shape)] = _DEFECT
    return labels


def _labels(example: Example) -> Labels:
    if example.mask is None:
        return np.zeros((grid_of(len(example.image)),) * 2, dtype=np.int8)
    return cell_labels(example.mask)


def _groups(example: Example, labels: Labels, origins: Sequence[str]) -> Labels:
    """0 for normal cells, 1 + the origin's number for those of defects, -1 for those left out."""
    of_defect = 1 + origins.index(example.origin) if example.defective else -1
    return np.select([labels == _NORMAL, labels == _DEFECT], [0, of_defect], -1).astype(np.int8)


def draw_cells(groups: Sequence[Labels], most: Sequence[int], generator: np.random.Generator) -> list[Chosen]:
    """Which cells are trained on: of each group so many at most, drawn at random over all images."""
    flat = np.concatenate([group.ravel() for group in groups])
    chosen = np.zeros(len(flat), dtype=bool)
    for number, count in enumerate(most):
        members = np.flatnonzero(flat == number)
        chosen[generator.permutation(members)[:count]] = True
    ends = np.cumsum([group.size for group in groups])[:-1]
    return [part.reshape(group.shape) for part, group in zip(np.split(chosen, ends), groups, strict=True)]


def _trained(rows: NDArray[np.float32], groups: Labels, regularisation: float) -> tuple[NDArray[np.float64], float]:
    """Direction and offset of a `LinearProbe`."""
    scaler = StandardScaler().fit(rows)
    regression = LogisticRegression(C=regularisation, max_iter=_ROUNDS)
    regression.fit(scaler.transform(rows), groups > 0, sample_weight=cell_weights(groups))
    direction = regression.coef_[0].astype(np.float64) / scaler.scale_
    return direction, float(regression.intercept_[0] - direction @ scaler.mean_)


def cell_weights(groups: Labels) -> NDArray[np.float64]:
    """Weights of mean 1: normal cells (0) together weigh half, the groups of defects (from 1) share the other half."""
    counts = np.bincount(groups)
    present = np.count_nonzero(counts[1:])
    shares = np.where(np.arange(len(counts)) == 0, 0.5, 0.5 / present)
    return np.asarray((len(groups) * shares / np.maximum(counts, 1))[groups])


def score(model: LinearProbe, images: Sequence[Image]) -> Scored:
    """Maps of log-odds, which never saturate; an image's score is the mean of its map's highest 1 %."""
    maps = np.stack([_map(model, image) for image in images])
    brightest = max(1, round(_BRIGHTEST * maps[0].size))
    highest = np.sort(maps.reshape(len(maps), -1), axis=1)[:, -brightest:]
    return Scored(maps, highest.mean(axis=1, dtype=np.float64).astype(np.float32))


def _map(model: LinearProbe, image: Image) -> NDArray[np.float32]:
    odds = described(image, model.device).reshape(-1, 2 * CHANNELS) @ model.direction + model.offset
    return to_map(odds.reshape(grid_of(len(image)), -1), len(image))
