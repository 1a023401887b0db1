"""Masks on the latent grid, and what it means to keep the clean image outside of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from tasks.contracts import Image, Mask
from tasks.networks.device import HOST

CELL = 8
"""Pixels a side of one latent cell."""


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


def guidance_scale(strengths: Tensor, cells: Tensor) -> Tensor:
    """1 + (g - 1) m: the strengths g (n,) inside the mask's cells (n, 1, h, w), plain conditioning outside."""
    return 1 + (strengths.view(-1, 1, 1, 1) - 1) * cells


def guided(both: Tensor, scale: Tensor) -> Tensor:
    """clean + scale (defect - clean), of the predictions for the defect and, after them, for the clean image."""
    defect, clean = both.float().chunk(2)
    return clean + scale * (defect - clean)


def feather_weights(mask: Mask, feather: int) -> np.ndarray:
    """1 on the mask, falling along a half cosine, exactly 0 beyond `feather` pixels; float32 (height, width)."""
    distance = ndimage.distance_transform_edt(~mask)
    ramp = np.clip(distance / (feather + 1), 0.0, 1.0)
    return np.where(distance > feather, 0.0, 0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)


def paste(result: Image, clean: Image, mask: Mask, feather: int) -> Image:
    """The result on the mask, the clean image beyond the feather ring bit for bit, and a blend between."""
    weight = feather_weights(mask, feather)[..., None]
    mixed = weight * result.astype(np.float32) + (1 - weight) * clean.astype(np.float32)
    return np.where(weight > 0, np.rint(mixed), clean).astype(np.uint8)


def to_images(tensor: Tensor) -> list[Image]:
    """(n, 3, height, width) in [-1, 1] to uint8 images, rounded and clipped."""
    scaled = ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy())
