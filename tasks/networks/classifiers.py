"""The ImageNet networks whose logits are kept of every image, by the names that the params know them by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional

from tasks.networks.device import HOST
from tasks.networks.weights import efficientnet_lite0, inception_v3

_LITE0_SIDE = 224


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 as it was trained: bilinear to 224 pixels, levels as (x - 127) / 128."""

    def __init__(self) -> None:
        super().__init__()
        self.network = efficientnet_lite0()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 1000) of uint8 images (n, 3, height, width)."""
        side = (_LITE0_SIDE, _LITE0_SIDE)
        resized = functional.interpolate(images.float(), size=side, mode="bilinear", antialias=True)
        return self.network((resized - 127) / 128)


class InceptionV3(nn.Module):
    """The Inception score's own network, as torch-fidelity has it (Salimans et al. 2016, TensorFlow's 2015 weights)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = inception_v3()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 1008), without the last layer's bias, of uint8 images (n, 3, height, width)."""
        return self.network(images)[0]


class NoClassifier(nn.Module):
    """Tells no classes apart: there is then no Inception score, no confidence and no entropy."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 0) of n images."""
        return torch.zeros(len(images), 0, device=images.device)


CLASSIFIERS: dict[str, type[nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "inception_v3": InceptionV3,
    "none": NoClassifier,
}


def confidence_and_entropy(logits: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest softmax probability and the entropy in nats of each row of logits (n, classes); NaN for no class."""
    if not logits.shape[1]:
        return np.full(len(logits), np.nan), np.full(len(logits), np.nan)
    log_probabilities = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    probabilities = np.exp(log_probabilities)
    return probabilities.max(axis=1), -(probabilities * log_probabilities).sum(axis=1)


def load_classifier(name: str, device: torch.device = HOST) -> nn.Module:
    """The named network, in evaluation mode. Raises DefectoryError where its weights are missing."""
    return CLASSIFIERS[name]().eval().to(device)
