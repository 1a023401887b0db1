"""Descriptors: 256 numbers an image, whose squared distances estimate LPIPS between images.

LPIPS between two images is, over its layers, the sum of mean squared differences of weighted features; with each layer
divided by the square root of its positions it is one squared Euclidean distance. A random projection keeps such
distances (Johnson and Lindenstrauss 1984; with random signs, Achlioptas 2003): the relative standard error is at most
sqrt(2 / 256), 9 %. Finding near-duplicates among thousands of images is then a matrix product.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.networks.lpips import LPIPS
from tasks.seeds import derive, numpy_generator

DESCRIPTOR_LENGTH = 256
DESCRIPTOR_SIDE = 64
"""Pixels a side to which images are brought first; the distances are LPIPS at this size."""


def shrink(images: Tensor) -> Tensor:
    """Images (n, 3, height, width) brought to 64 x 64 pixels, bilinear with antialiasing."""
    return functional.interpolate(images, size=(DESCRIPTOR_SIDE, DESCRIPTOR_SIDE), mode="bilinear", antialias=True)


def descriptors_of(network: LPIPS, images: Tensor) -> Tensor:
    """Descriptors, float16 of shape (n, 256), of images (n, 3, height, width) in [-1, 1]."""
    features = [scaled.flatten(1) / scaled[0, 0].numel() ** 0.5 for scaled in network.features(shrink(images))]
    joined = torch.cat(features, dim=1)
    return (joined @ _projection(joined.shape[1], joined.device)).half()


@cache
def _projection(length: int, device: torch.device) -> Tensor:
    """Signs divided by sqrt(256), float32 (length, 256): 33 MB, drawn once a process, the same everywhere."""
    generator = numpy_generator(derive(0, "descriptor"))
    bits = np.frombuffer(generator.bytes(length * DESCRIPTOR_LENGTH // 8), dtype=np.uint8)
    signs = np.unpackbits(bits).reshape(length, DESCRIPTOR_LENGTH).astype(np.float32) * 2 - 1
    return torch.from_numpy(signs).div_(DESCRIPTOR_LENGTH**0.5).to(device)
