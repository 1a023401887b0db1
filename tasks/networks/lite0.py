"""What EfficientNet-Lite0 sees on its way: cells of an image, before the network pools them into one answer.

In: one image. Out: the outputs of some of the network's sixteen blocks. Early blocks see texture in fine cells, later
ones see parts of things in coarse cells: block 2 has 24 channels and a cell every 4 pixels, block 4 has 40 and 8,
block 10 has 112 and 16.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from tasks.contracts import Image
from tasks.networks.device import HOST
from tasks.networks.weights import efficientnet_lite0

_MARGIN = 16
"""Mirrored pixels around the image, so that no cell sees the network's own padding, which looks like nothing else."""


@torch.inference_mode()
def block_outputs(image: Image, side: int, blocks: tuple[int, ...], device: torch.device = HOST) -> list[Tensor]:
    """Outputs (1, channels, side / stride, side / stride) of the blocks of these numbers, from 0; on the device.

    `image` (height, width, 3) is brought to `side` pixels a side first, at least 32 and a multiple of the strides. It
    goes through the network by itself: its bits must not depend on companions in a batch.
    Raises DefectoryError where the network's weights are missing.
    """
    levels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1).unsqueeze(0).to(device)
    levels = functional.interpolate(levels, size=(side, side), mode="bilinear", antialias=True)
    mirrored = functional.pad(levels, [_MARGIN] * 4, mode="reflect")
    outputs = _network(blocks, device)((mirrored - 127) / 128)
    return [_without_margin(outputs[str(block)], side) for block in blocks]


def _without_margin(cells: Tensor, side: int) -> Tensor:
    width = _MARGIN * cells.shape[-1] // (side + 2 * _MARGIN)
    return cells[..., width:-width, width:-width]


@cache
def _network(blocks: tuple[int, ...], device: torch.device) -> nn.Module:
    names = {f"_blocks.{block}": str(block) for block in blocks}
    return create_feature_extractor(efficientnet_lite0(), names, suppress_diff_warning=True).to(device)
