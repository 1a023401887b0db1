"""Stage two: the prior learns to predict tokens, of whole windows and of what is missing in them.

Cross-entropy on every token of the order (Taming Transformers, arXiv 2012.09841, eq. 8), those that the mask meets
weighing more. Some tokens that are read are replaced by random ones (its pkeep), for a prior that has only read what
is right does not know what to do after its first mistake.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.resumable import ResumableTrainer
from tasks.system_params import TokenPriorParams
from tasks.tokens.grids import Grids, positions_of
from tasks.tokens.order import random_known, reading_order
from tasks.tokens.prior import Prior, Window

_WHOLE_SHARE = 0.3
"""Of the windows, those of whole clean images."""
_INPAINTING_SHARE = 0.7
"""Of the windows of augmented images, those in which all but the mask is known."""


class PriorTrainer(ResumableTrainer[Grids]):
    def __init__(self, prior: Prior, params: TokenPriorParams, seed: int) -> None:
        super().__init__(prior, params, seed)
        self.prior, self.params = prior, params

    def loss(self, examples: Grids, generator: torch.Generator) -> Tensor:
        placed = torch.rand(self.params.batch_size, generator=generator) < _WHOLE_SHARE
        weights = (placed[:, None] == examples.placed).float() + 1e-9  # all alike where there is but one kind
        chosen = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        ids, window = draw_windows(examples, chosen, self.prior.window, generator)
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # dropout knows no generator
        return token_loss(self.prior, ids, window, self.params, generator)


def token_loss(
    prior: Prior, ids: Tensor, window: Window, params: TokenPriorParams, generator: torch.Generator
) -> Tensor:
    """The weighted mean cross-entropy in nats of `ids` (n, cells), which are in raster order."""
    targets = ids.gather(1, window.order)
    noisy = torch.rand(targets.shape, generator=generator) < params.token_noise
    read = torch.where(noisy, torch.randint(prior.codes, targets.shape, generator=generator), targets)
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = prior(read, window)
    loss = functional.cross_entropy(logits.float().movedim(-1, 1), targets, reduction="none")
    weights = 1 + (params.inside_weight - 1) * (window.covers.gather(1, window.order) > 0)
    return (loss * weights).sum() / weights.sum()


def draw_windows(grids: Grids, chosen: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Window]:
    """A window of each chosen grid: its ids (n, side * side) in raster order, and what the prior is told."""
    ids, covers, orders, positions = [], [], [], []
    for number in chosen.tolist():
        placed = bool(grids.placed[number])
        top, left = _corner(grids.covers[number], side, generator)
        part = (number, slice(top, top + side), slice(left, left + side))
        cover = grids.covers[part].flatten()
        inpainted = not placed and bool(torch.rand((), generator=generator) < _INPAINTING_SHARE)
        known = cover == 0 if inpainted else random_known(side, generator)
        ids.append(grids.ids[part].flatten())
        covers.append(cover)
        orders.append(reading_order(known))
        positions.append(positions_of(top, left, side, grids.ids.shape[1:], placed))
    window = Window(
        grids.labels[chosen],
        torch.zeros_like(chosen),
        torch.stack(positions),
        torch.stack(covers),
        torch.stack(orders),
    )
    return torch.stack(ids), window


def _corner(cover: Tensor, side: int, generator: torch.Generator) -> tuple[int, int]:
    """A window's first cell: anywhere, but with a cell of the mask in it where there is one."""
    met = cover.nonzero() if cover.any() else torch.ones_like(cover).nonzero()
    cell = met[int(torch.randint(len(met), (), generator=generator))].tolist()
    shift = torch.randint(side, (2,), generator=generator).tolist()
    top, left = (min(max(c - s, 0), n - side) for c, s, n in zip(cell, shift, cover.shape, strict=True))
    return top, left
