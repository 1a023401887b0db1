"""Low-Fidelity Selection (DefectFill, CVPR 2025) among painted candidates, held to what real defects look like.

A painter that inpaints tends to mend: some of its candidates are the clean surface again, and a dataset of those has
labels without defects. DefectFill keeps the candidate of the largest LPIPS to the clean image inside the mask. With
guidance that is the most glaring one, on a small model the burnt-out one. So the less faithful half is kept, which
leaves the mended ones out, and of it the candidate whose latents are most like those of the type's real defects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.diffusion.latents import cells_of
from tasks.diffusion.pool import Pool
from tasks.networks.lpips import shared_lpips

LOOKS_NAMES = ("looks.mean", "looks.spread")
"""Of the tensors in a file."""
_LEAST_SPREAD = 0.1
"""In the latents' standard deviations: of a type with a single example."""


@dataclass(frozen=True)
class Looks:
    """What the defects of each label look like: mean and spread over examples of the features of `look_of`."""

    mean: Tensor
    """(labels, features)."""
    spread: Tensor
    """(labels, features)."""

    @classmethod
    def of_pool(cls, pool: Pool, labels: int) -> Looks:
        """A label without examples looks like anything: its mean is 0 and its spread 1."""
        looks = look_of(pool.latents.float(), (pool.trimaps == 2).float())
        mean, spread = torch.zeros(labels, looks.shape[1]), torch.ones(labels, looks.shape[1])
        for label in pool.labels.unique().tolist():
            examples = looks[pool.labels == label]
            mean[label] = examples.mean(dim=0)
            spread[label] = examples.std(dim=0, correction=0).clamp_min(_LEAST_SPREAD)
        return cls(mean, spread)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(LOOKS_NAMES, (self.mean, self.spread), strict=True))

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Looks:
        return cls(*(tensors[name] for name in LOOKS_NAMES))

    def strangeness(self, latents: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """(n,): by how many spreads the looks are off the mean of their labels (n,), a root mean square."""
        off = (look_of(latents, masks) - self.mean[labels]) / self.spread[labels]
        return off.square().mean(dim=1).sqrt()


def look_of(latents: Tensor, masks: Tensor) -> Tensor:
    """(n, 2 * channels): every channel's mean and standard deviation over the cells of the mask (n, 1, height, width).

    An empty mask gives 0.
    """
    cells = cells_of(masks)
    count = cells.sum(dim=(2, 3)).clamp_min(1)
    mean = (latents * cells).sum(dim=(2, 3)) / count
    variance = ((latents - mean[..., None, None]).square() * cells).sum(dim=(2, 3)) / count
    return torch.cat([mean, variance.sqrt()], dim=1)


@torch.no_grad()
def distances_inside(images: Tensor, cleans: Tensor, masks: Tensor) -> Tensor:
    """(n,): the mean LPIPS inside masks (n, 1, height, width) of images (n, 3, height, width) in about [-1, 1]."""
    distances = shared_lpips(device=images.device).spatial(images.clamp(-1, 1), cleans)
    inside = masks.squeeze(1)
    return (distances * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp_min(1)


def least_faithful(distances: Tensor, strangeness: Tensor) -> Tensor:
    """The kept candidate of each image (n,), from (candidates, n) each: never one below the median distance."""
    half = (len(distances) + 1) // 2
    faithless = distances.topk(half, dim=0).indices
    return faithless.gather(0, strangeness.gather(0, faithless).argmin(dim=0, keepdim=True))[0]
