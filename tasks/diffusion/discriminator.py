"""The patch discriminator of a VQGAN, its hinge losses, its adaptive weight and its augmentation.

In: images and their reconstructions. Out: how real each patch looks, and the weight of that verdict. Taming
Transformers (arXiv 2012.09841): a PatchGAN of three layers (Isola et al., arXiv 1611.07004), lambda of eq. 7.
DiffAugment (Zhao et al., arXiv 2006.10738) lets it learn from a few hundred photographs without learning them by
heart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_WEIGHT = 1e4
_SMALLEST_GRADIENT = 1e-4
_LARGEST_SHIFT = 1 / 8
_HOLE = 1 / 2


class PatchDiscriminator(nn.Sequential):
    """Images (n, 3, h, w) to logits (n, 1, about h / 8, about w / 8), one for each overlapping patch of 70 pixels."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for source, target, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(source * width, target * width, 4, stride, 1, bias=False),
                nn.GroupNorm(min(32, target * width // 4), target * width),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The hinge loss of logits: half of E[max(0, 1 - real)] + E[max(0, 1 + fake)]."""
    return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean())


def adaptive_weight(reconstruction_gradient: Tensor, adversarial_gradient: Tensor) -> Tensor:
    """lambda = |grad L_rec| / (|grad L_G| + 1e-4), clamped to [0, 1e4]; gradients with respect to the last layer."""
    ratio = reconstruction_gradient.norm() / (adversarial_gradient.norm() + _SMALLEST_GRADIENT)
    return ratio.clamp(0.0, LARGEST_WEIGHT).detach()


def ramp(step: int, steps: int, start: float, length: float) -> float:
    """0 until the share `start` of all steps, then rising linearly to 1 within a further share `length`."""
    return min(1.0, max(0.0, (step / steps - start) / length))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """DiffAugment: a random brightness, contrast, shift and hole for each image (n, 3, h, w); differentiable."""
    count, _, height, width = images.shape
    draws = torch.rand((6, count, 1, 1, 1), generator=generator).to(images)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    toned = (images - mean) * (draws[0] + 0.5) + mean + draws[1] - 0.5
    shift = (2 * draws[2:4].view(2, count).T - 1) * 2 * _LARGEST_SHIFT
    motion = torch.eye(2, 3).repeat(count, 1, 1).to(images)
    motion[:, :, 2] = shift
    grid = functional.affine_grid(motion, list(images.shape), align_corners=False)
    moved = functional.grid_sample(toned.float(), grid, padding_mode="zeros", align_corners=False)
    rows = torch.linspace(0, 1, height).view(1, 1, -1, 1).to(images)
    columns = torch.linspace(0, 1, width).view(1, 1, 1, -1).to(images)
    hole = ((rows - draws[4]).abs() < _HOLE / 2) & ((columns - draws[5]).abs() < _HOLE / 2)
    return moved * ~hole
