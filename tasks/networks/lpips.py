"""LPIPS v0.1 with AlexNet or VGG-16 (Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018).

Split in features and distance, which the usual packages are not: a feature is computed once and used for
many distances, for spatial maps, for descriptors and for training losses.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import alexnet, vgg16

from tasks.networks.device import HOST
from tasks.networks.weights import alexnet_lpips_weights, vgg16_lpips_weights

Network = Literal["alexnet", "vgg16"]

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_TAPS = {"alexnet": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}
"""The layers after whose ReLU a feature map is read."""


class LPIPS(nn.Module):
    """Distances between images of shape (n, 3, height, width) in [-1, 1]; height and width of at least 32."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network = "alexnet") -> None:
        super().__init__()
        self.network = network
        self.layers = _features(network)
        weights = alexnet_lpips_weights() if network == "alexnet" else vgg16_lpips_weights()
        for position, layer in enumerate(self.layers):
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({name: weights[f"features.{position}.{name}"] for name in ("weight", "bias")})
        for number in range(len(_TAPS[network])):
            self.register_buffer(f"head{number}", weights[f"lin{number}.weight"].sqrt().view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """Five maps (n, channels, h, w), unit-normalised over channels and weighted by the square root of the heads.

        The LPIPS distance of two images is the sum over the maps of the mean over positions of the squared
        Euclidean distance over channels.
        """
        maps: list[Tensor] = []
        hidden = (images - self.shift) / self.scale
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if number in _TAPS[self.network]:
                unit = hidden / (hidden.norm(dim=1, keepdim=True) + 1e-10)
                maps.append(unit * getattr(self, f"head{len(maps)}"))
        return maps

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of each pair, shape (n,)."""
        return lpips_distance(self.features(first), self.features(second))

    def spatial(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of each pair by position, shape (n, height, width); its mean is close to `forward`."""
        return lpips_map(self.features(first), self.features(second), (first.shape[-2], first.shape[-1]))


def _features(network: Network) -> nn.Sequential:
    """torchvision's convolutions up to the last layer that is read, without weights."""
    with torch.device("meta"):  # so that nothing is drawn at random, nor is there memory for the rest
        whole = {"alexnet": alexnet, "vgg16": vgg16}[network](weights=None)
    layers: nn.Sequential = whole.features[: _TAPS[network][-1] + 1].to_empty(device=HOST)
    return layers


def lpips_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """The LPIPS distance between two sets of `LPIPS.features`, shape (n,)."""
    layers = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(first, second, strict=True)]
    return torch.stack(layers).sum(dim=0)


def lpips_map(first: list[Tensor], second: list[Tensor], size: tuple[int, int]) -> Tensor:
    """The LPIPS distance by position between two sets of `LPIPS.features`, shape (n, *size)."""
    maps = [(a - b).square().sum(dim=1, keepdim=True) for a, b in zip(first, second, strict=True)]
    larger = [functional.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps]
    return torch.stack(larger).sum(dim=0).squeeze(1)


@cache
def shared_lpips(network: Network = "alexnet", device: torch.device = HOST) -> LPIPS:
    """One network a process and device: building it costs more than using it."""
    return LPIPS(network).to(device)
