"""IC-LPIPS: how much generated defects differ among themselves (Ojha et al., "Few-shot Image Generation via
Cross-domain Correspondence", CVPR 2021, as taken over by the defect generators).

Every generated image joins the cluster of its nearest real training image by LPIPS; a cluster's value is the mean LPIPS
between its images, the result the mean over clusters. In: generated and real images of one defect type. Out: the
value, and with it the clusters, for it says little without them. Higher is more diverse, and higher for garbage, too.

Publications disagree on the network, on how many images of a cluster are compared, and on clusters of fewer than two:
those rules are a `Protocol`, and a value is only ever set beside one of the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Image
from tasks.networks.device import HOST
from tasks.networks.lpips import Network, shared_lpips
from tasks.quality.lpips_matrix import MEMORY, FeatureRows, cross_lpips, pairwise_lpips
from tasks.seeds import derive, numpy_generator


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
