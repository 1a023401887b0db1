"""Low-Fidelity Selection (DefectFill, CVPR 2025): of several painted candidates keep the one least like the clean one.

A painter that inpaints tends to mend: some of its candidates are the clean surface again, and a dataset of those has
labels without defects. The measure is LPIPS to the clean image, its mean inside the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.quality.perceptual import shared_lpips


@torch.no_grad()
def distances_inside(images: Tensor, cleans: Tensor, masks: Tensor) -> Tensor:
    """(n,) from images (n, 3, height, width) in about [-1, 1] and masks (n, 1, height, width) of 0 and 1."""
    distances = shared_lpips().spatial(images.clamp(-1, 1), cleans)
    inside = masks.squeeze(1)
    return (distances * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp_min(1)


def least_faithful(distances: Tensor) -> Tensor:
    """The candidate (n,) of the largest distance, from distances (candidates, n)."""
    return distances.argmax(dim=0)
