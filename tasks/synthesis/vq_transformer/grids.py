"""What the prior of images is trained on: images as grids of ids, with their covers and labels.

The order in which a transformer reads a window of tokens: what is known first, what is to be made after.

Taming Transformers (arXiv 2012.09841) reads in raster order, so that a token to be filled in sees nothing of what
lies right of and below it, though it is known. Tokens that carry their place with them can be read in any order (Yang
et al., XLNet, arXiv 1906.08237; Pannatier et al., arXiv 2404.09562): all that is known first, then the rest in raster
order. With nothing known this is Taming's order; with everything but a mask known it is inpainting that sees all
sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import mask_tensor, to_tensor
from tasks.networks.device import HOST, device_of
from tasks.progress import Progress
from tasks.synthesis.vq_transformer.image_codec import ImageCodec
from tasks.synthesis.vq_transformer.prior import cover_of
from tasks.training.composites import TrainingImage

_ENCODE_BATCH = 16


@dataclass(frozen=True)
class Grids:
    """On the host, where windows are drawn from them."""

    ids: Tensor
    """(n, h, w), int64."""
    covers: Tensor
    """(n, h, w) in {0, 1, 2}."""
    labels: Tensor
    """(n,)."""
    placed: Tensor
    """(n,), bool: whether a cell's place in the grid is its place in a whole image."""


@torch.no_grad()
def encode_ids(codec: ImageCodec, images: Sequence[TrainingImage], progress: Progress | None = None) -> Tensor:
    """(n, h, w) ids, on the host; in full precision, as in painting: half of it gives one token in five another id."""
    device, ids = device_of(codec), []
    for start in range(0, len(images), _ENCODE_BATCH):
        batch = to_tensor([item.image for item in images[start : start + _ENCODE_BATCH]], device)
        ids.append(codec.encode(batch).to(HOST))
        if progress:
            progress(min(start + _ENCODE_BATCH, len(images)), len(images))
    return torch.cat(ids)


def encode_grids(
    codec: ImageCodec,
    augmented: Sequence[TrainingImage],
    whole: Sequence[TrainingImage],
    table: LabelTable,
    progress: Progress | None = None,
) -> Grids:
    """`augmented` may be magnified views; `whole` images are as they were photographed."""
    images = [*augmented, *whole]
    return Grids(
        encode_ids(codec, images, progress),
        torch.cat([cover_of(mask_tensor([item.mask]), codec.factor) for item in images]),
        torch.tensor([table.index(item.category, item.defect_type) for item in images]),
        torch.arange(len(images)) >= len(augmented),
    )


def positions_of(top: int, left: int, side: int, shape: Sequence[int], placed: bool) -> Tensor:
    """(side * side, 2): where the cells of a window at (top, left) lie in a grid of `shape`; -1 if not placed.

    A magnified view is an image like any other, whose cells do not lie where they seem to.
    """
    line = torch.arange(side)
    rows, columns = torch.meshgrid((top + line) / shape[0], (left + line) / shape[1], indexing="ij")
    positions = torch.stack([rows, columns], dim=2).flatten(0, 1)
    return positions if placed else torch.full_like(positions, -1.0)


def reading_order(known: Tensor, free: Tensor | None = None) -> Tensor:
    """Cells (..., cells) in the order in which they are read: the known, then the free, then all others.

    Each group in raster order; `known` and `free` are bool (..., cells). Without `free`, all that is unknown is free.
    """
    others = ~known & ~free if free is not None else torch.zeros_like(known)
    rank = (~known).long() + others
    return rank.argsort(dim=-1, stable=True)


def random_known(window: int, generator: torch.Generator) -> Tensor:
    """What a sliding window may find known already: bool (window * window,), True above and left of a random corner.

    Nothing at all is known as often as anything is.
    """
    known = torch.zeros((window, window), dtype=torch.bool)
    if torch.rand((), generator=generator) < 0.5:
        return known.flatten()
    rows, columns = (int(n) for n in torch.randint(window, (2,), generator=generator))
    known[:rows] = True
    known[:, :columns] = True
    return known.flatten()
