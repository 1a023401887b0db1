"""IC-LPIPS: how much generated defects differ among themselves (Ojha et al., "Few-shot Image Generation via
Cross-domain Correspondence", CVPR 2021, as taken over by the defect generators).

Every generated image joins the cluster of its nearest real training image by LPIPS; a cluster's value is the mean LPIPS
between its images, the result the mean over clusters. In: generated and real images of one defect type. Out: the
value, and with it the clusters, for it says little without them. Higher is more diverse, and higher for garbage, too.

Publications disagree on the network, on how many images of a cluster are compared, and on clusters of fewer than two:
those rules are a `Protocol`, and a value is only ever set beside one of the same protocol.

LPIPS between all images of one set and all of another, as matrix products.

LPIPS is a weighted squared Euclidean distance between normalised feature maps. So an image is one row of numbers,
computed once, whose squared distance to another image's row is their LPIPS; and |a - b|^2 = |a|^2 + |b|^2 - 2 ab makes
a matrix product of all distances. In: images of one size and a network. Out: exact distances. Memory is bounded: rows
are kept while they fit and computed again where they do not, and the product goes block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.contracts import DefectoryError, Image
from tasks.networks.device import HOST
from tasks.networks.lpips import LPIPS, Network, shared_lpips
from tasks.seeds import derive, numpy_generator

MEMORY = 4 * 2**30
"""Bytes. A row takes 2.6 MB with AlexNet and 33 MB with VGG-16 at 256 px."""
_BATCH = 4
"""Images that the network sees at once."""
_BLOCKS = 4
"""A part in so many of the memory is one block; two are multiplied at a time, the rest holds rows."""


@dataclass(frozen=True)
class Protocol:
    network: Network
    most: int
    """Images of one cluster that are compared."""
    chosen: Literal["first", "random"]
    """Which, of a larger cluster."""
    below_two: Literal["zero", "skip"]
    """A cluster of fewer than two images has no pair: it counts as 0, or not at all."""


PROTOCOLS = {
    "dfmgan": Protocol("alexnet", 200, "first", "zero"),
    "seas": Protocol("vgg16", 140, "first", "skip"),
    "anomalydiffusion": Protocol("vgg16", 50, "random", "skip"),
    "magic": Protocol("vgg16", 50, "random", "skip"),
}
"""As the evaluation code that was published with each has it: DFMGAN (AAAI 2023), which prints the value without its
empty clusters beside this one; SeaS (ICCV 2025); AnomalyDiffusion (AAAI 2024), with an unseeded choice; MAGIC. All but
DFMGAN's, whose generator's size counts, are of 256 px; all expect 1000 images a defect type."""


@dataclass(frozen=True)
class ICLPIPS:
    value: float
    """The mean over clusters; not a number where no cluster counts."""
    cluster_means: tuple[float, ...]
    """By real image; not a number for clusters of fewer than two images."""
    cluster_sizes: tuple[int, ...]
    """By real image, before the choice."""


def ic_lpips(
    generated: Sequence[Image],
    real: Sequence[Image],
    protocol: Protocol,
    seed: int = 0,
    memory: int = MEMORY,
    device: torch.device = HOST,
) -> ICLPIPS:
    """IC-LPIPS of the generated images of one defect type, around its real training images; all of one size.

    `seed` is of the random choice from larger clusters. `memory` bounds what features take, in bytes.
    Raises DefectoryError without real images.
    """
    if not len(real):
        raise DefectoryError("IC-LPIPS clusters around real images and got none; give the train split's defects")
    network = shared_lpips(protocol.network, device)
    rows = FeatureRows(network, generated, memory)
    nearest = cross_lpips(rows, FeatureRows(network, real, memory)).argmin(axis=1)
    clusters = [np.flatnonzero(nearest == number) for number in range(len(real))]
    chosen = [_choose(cluster, protocol, derive(seed, f"cluster {n}")) for n, cluster in enumerate(clusters)]
    means = [_mean_distance(pairwise_lpips(rows, members.tolist())) for members in chosen]
    return ICLPIPS(mean_of_clusters(means, protocol), tuple(means), tuple(len(cluster) for cluster in clusters))


def mean_of_clusters(means: Sequence[float], protocol: Protocol) -> float:
    """The mean over clusters, where one of fewer than two images (not a number) counts as the protocol says."""
    values = np.asarray(means, dtype=np.float64)
    counted = np.nan_to_num(values) if protocol.below_two == "zero" else values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def _choose(cluster: NDArray[np.intp], protocol: Protocol, seed: int) -> NDArray[np.intp]:
    if protocol.chosen == "random" and len(cluster) > protocol.most:
        return np.sort(numpy_generator(seed).permutation(cluster)[: protocol.most])
    return cluster[: protocol.most]


def _mean_distance(matrix: NDArray[np.float32]) -> float:
    """Over the pairs of a symmetric matrix of distances; not a number where there is none."""
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    return float(pairs.mean(dtype=np.float64)) if len(pairs) else float("nan")


class FeatureRows:
    """The images of one set as rows of numbers whose squared Euclidean distances are LPIPS.

    `images` may be any sequence, so that it can read them from disk when they are asked for; all are (height, width, 3)
    of one size. `memory` bounds what rows take, in bytes; the network's own activations come on top.
    """

    def __init__(self, network: LPIPS, images: Sequence[Image], memory: int = MEMORY) -> None:
        self._network, self._images = network, images
        self._kept: dict[int, Tensor] = {}
        self._row = self._compute([0])[0] if len(images) else torch.empty(1)
        row_bytes = self._row.nbytes
        self._most_kept = memory * (_BLOCKS - 2) // _BLOCKS // row_bytes
        self._block = max(1, memory // _BLOCKS // row_bytes)

    def __len__(self) -> int:
        return len(self._images)

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The rows of the images of these numbers, (n, features)."""
        rows = self._row.new_empty(len(numbers), len(self._row))
        missing = [place for place, number in enumerate(numbers) if number not in self._kept]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            rows[batch] = self._compute([numbers[place] for place in batch])
        for place, number in enumerate(numbers):
            if number in self._kept:
                rows[place] = self._kept[number]
            elif len(self._kept) < self._most_kept:
                self._kept[number] = rows[place].clone()
        return rows

    def blocks(self, numbers: Sequence[int]) -> Iterator[tuple[slice, Tensor]]:
        """The rows of these images a block at a time, each with its place among `numbers`."""
        for start in range(0, len(numbers), self._block):
            place = slice(start, min(start + self._block, len(numbers)))
            yield place, self.rows(numbers[place])

    @torch.inference_mode()
    def _compute(self, numbers: Sequence[int]) -> Tensor:
        images = [self._images[number] for number in numbers]
        if len({image.shape for image in images}) > 1:
            raise DefectoryError(
                f"LPIPS compares images of one size, got {sorted({image.shape for image in images})}; bring them to one"
            )
        levels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self._network.shift.device)
        maps = self._network.features(levels.float() / 127.5 - 1)
        # The distance takes the mean over a map's positions: a part of its root goes to either side.
        return torch.cat([(each / (each.shape[2] * each.shape[3]) ** 0.5).flatten(1) for each in maps], dim=1)


def cross_lpips(first: FeatureRows, second: FeatureRows) -> NDArray[np.float32]:
    """The LPIPS of each image of the first set to each of the second, (len(first), len(second))."""
    matrix = np.empty((len(first), len(second)), np.float32)
    for down, rows in first.blocks(range(len(first))):
        for across, others in second.blocks(range(len(second))):
            matrix[down, across] = _squared_distances(rows, others)
    return matrix


def pairwise_lpips(images: FeatureRows, numbers: Sequence[int] | None = None) -> NDArray[np.float32]:
    """The LPIPS between all images, or those of `numbers`: symmetric, with zeros on the diagonal."""
    numbers = range(len(images)) if numbers is None else numbers
    matrix = np.empty((len(numbers), len(numbers)), np.float32)
    for down, rows in images.blocks(numbers):
        matrix[down, down] = _squared_distances(rows, rows)
        for across, others in images.blocks(numbers[down.stop :]):
            beyond = slice(down.stop + across.start, down.stop + across.stop)
            matrix[down, beyond] = _squared_distances(rows, others)
            matrix[beyond, down] = matrix[down, beyond].T
    np.fill_diagonal(matrix, 0)
    return matrix


def _squared_distances(first: Tensor, second: Tensor) -> NDArray[np.float32]:
    squares, others = (torch.linalg.vector_norm(rows, dim=1).square() for rows in (first, second))
    distances = squares[:, None] + others - 2 * (first @ second.T)
    return distances.clamp_min(0).cpu().numpy()
