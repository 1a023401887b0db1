"""KID and FID: how far the features of generated images are from those of real ones, as two distributions.

In: images. Out: numbers that carry their network's name (`kid_name`, `fid_name`): those of EfficientNet-Lite0 are on
another scale than those of InceptionV3 and never set beside them. KID's estimate is unbiased and has its place where
images are few; FID's is biased upwards by an amount that depends on their number, so it is refused below as many images
as features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.models.feature_extraction import create_feature_extractor

from tasks.contracts import DefectoryError, Image
from tasks.networks.classifiers import EfficientNetLite0
from tasks.networks.device import HOST
from tasks.networks.weights import inception_v3
from tasks.seeds import derive

FEATURE_NETWORKS = ("efficientnet_lite0", "inception_v3")
_LARGEST_SUBSET = 1000
"""Images of a subset at most (Bińkowski et al. 2018)."""

Features = NDArray[np.float32]
"""(n, features), of the layer before the classes: 1280 of EfficientNet-Lite0, 2048 of InceptionV3."""


def kid_name(network: str) -> str:
    return f"kid_{network}"


def fid_name(network: str) -> str:
    return f"fid_{network}"


def kid(
    generated: Sequence[Image], real: Sequence[Image], network: str, seed: int, subsets: int = 100
) -> tuple[float, float]:
    """Mean and standard deviation over subsets of the kernel distance between the images' features; see `kid_of`."""
    return kid_of(network_features(generated, network), network_features(real, network), seed, subsets)


def fid(generated: Sequence[Image], real: Sequence[Image], network: str) -> float:
    """The Fréchet distance between the images' features; see `fid_of`."""
    return fid_of(network_features(generated, network), network_features(real, network))


def kid_of(generated: Features, real: Features, seed: int, subsets: int = 100) -> tuple[float, float]:
    """Mean and standard deviation over random subsets of the squared maximum mean discrepancy, unbiased: about 0 for
    one distribution, and now and then below.

    Its kernel is (x . y / d + 1)^3 (Bińkowski et al., "Demystifying MMD GANs", ICLR 2018). A subset is half of the
    smaller side, 1000 at most: its size changes the spread and not the mean.
    Raises DefectoryError for fewer than four rows on a side.
    """
    fewest = min(len(generated), len(real))
    if fewest < 4:
        raise DefectoryError(
            f"KID wants four images on each side and got {len(generated)} generated and {len(real)} real; add images"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all extracted features")
        metric = KernelInceptionDistance(
            feature=_Given(real.shape[1]), subsets=subsets, subset_size=min(fewest // 2, _LARGEST_SUBSET)
        )
    _show(metric, generated, real)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "kid"))
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def fid_of(generated: Features, real: Features) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^1/2) of the means and covariances (Heusel et al. 2017), at least 0.

    Raises DefectoryError where a side has fewer rows than there are features.
    """
    count, length = min(len(generated), len(real)), real.shape[1]
    if count < length:
        raise DefectoryError(
            f"FID of {length} features wants as many images on each side and got {len(generated)} generated and "
            f"{len(real)} real: with fewer its estimate says more about their number than about them; use KID"
        )
    metric = FrechetInceptionDistance(feature=_Given(length)).set_dtype(torch.float64)
    _show(metric, generated, real)
    return float(metric.compute())


def _show(metric: Metric, generated: Features, real: Features) -> None:
    for rows, is_real in ((real, True), (generated, False)):
        metric.update(torch.from_numpy(np.asarray(rows, dtype=np.float64)), real=is_real)


class _Given(nn.Module):
    """Stands where torchmetrics expects a network: the features are there already."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.num_features = length

    def forward(self, features: Tensor) -> Tensor:
        return features


@torch.inference_mode()
def network_features(images: Sequence[Image], network: str, device: torch.device = HOST) -> Features:
    """Features (n, length) of uint8 images of any size; each goes through the network by itself.

    Raises DefectoryError for an unknown network, and where its weights are missing.
    """
    trunk = _trunk(network, device)
    rows = [trunk(torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None]).flatten() for image in images]
    return np.asarray(torch.stack(rows).cpu().numpy(), dtype=np.float32)


class _InceptionPool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = inception_v3("2048")

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]


class _Lite0Pool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = create_feature_extractor(
            EfficientNetLite0(), {"network._avg_pooling": "pooled"}, suppress_diff_warning=True
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)["pooled"]


@cache
def _trunk(network: str, device: torch.device) -> nn.Module:
    if network not in FEATURE_NETWORKS:
        raise DefectoryError(
            f"no network {network!r} to take features of; expected one of {', '.join(FEATURE_NETWORKS)}"
        )
    return (_Lite0Pool() if network == "efficientnet_lite0" else _InceptionPool()).eval().to(device)
