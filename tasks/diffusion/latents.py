"""Images and masks as tensors, and the latent grid: its cells under a mask, and what is blended on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.contracts import Image, Mask
from tasks.networks.device import HOST
from tasks.params.systems import GuideFrom
from tasks.training.closeup import CELL


def mask_tensor(masks: Sequence[Mask], device: torch.device = HOST) -> Tensor:
    """Masks (height, width) to a float tensor (n, 1, height, width) of 0 and 1."""
    return torch.from_numpy(np.stack(masks)).unsqueeze(1).to(device).float()


def cells_of(masks: Tensor, reach: int = 1) -> Tensor:
    """(n, 1, h, w) to (n, 1, h / 8, w / 8): 1 for cells that the mask touches and those within `reach` of them.

    The reach makes room for what an encoder spreads beyond the cell of a pixel; AdaBLDM dilates by 5 x 5.
    """
    touched = functional.max_pool2d(masks, CELL)
    return functional.max_pool2d(touched, 2 * reach + 1, stride=1, padding=reach) if reach else touched


def blend(inside: Tensor, outside: Tensor, weight: Tensor) -> Tensor:
    """weight * inside + (1 - weight) * outside."""
    return weight * inside + (1 - weight) * outside


def guidance_scale(strengths: Tensor, cells: Tensor, guide_from: GuideFrom = "clean") -> Tensor:
    """1 + (g - 1) m: the strengths g (n,) inside the mask's cells (n, 1, h, w), plain conditioning outside; from the
    empty text they are for the whole image."""
    return 1 + (strengths.view(-1, 1, 1, 1) - 1) * (cells if guide_from == "clean" else torch.ones_like(cells))


def guided(both: Tensor, scale: Tensor) -> Tensor:
    """clean + scale (defect - clean), of the predictions for the defect and, after them, for the clean image."""
    defect, clean = both.float().chunk(2)
    return clean + scale * (defect - clean)


def to_images(tensor: Tensor) -> list[Image]:
    """(n, 3, height, width) in [-1, 1] to uint8 images, rounded and clipped."""
    scaled = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def to_tensor(images: Sequence[Image], device: torch.device = HOST) -> Tensor:
    """uint8 (height, width, 3) images to a float tensor (n, 3, height, width) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1
