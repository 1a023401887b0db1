"""Stage two: the prior learns to predict tokens, of whole windows and of what is missing in them.

Cross-entropy on every token of the order (Taming Transformers, arXiv 2012.09841, eq. 8), those that the mask meets
weighing more. Some tokens that are read are replaced by random ones (its pkeep), for a prior that has only read what
is right does not know what to do after its first mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tasks.networks.device import lower_precision
from tasks.params.systems import TokenPriorParams
from tasks.synthesis.vq_transformer.grids import Grids, positions_of, random_known, reading_order
from tasks.synthesis.vq_transformer.prior import Prior, TokenWindow
from tasks.training.loop import AveragedTrainer

_WHOLE_SHARE = 0.3
"""Of the windows, those of whole clean images."""
_INPAINTING_SHARE = 0.7
"""Of the windows of augmented images, those in which all but the mask is known."""


@dataclass(frozen=True)
class TokenBatch:
    """What a step is told."""

    targets: Tensor
    """(n, cells): ids in the window's order."""
    read: Tensor
    """The same, but some are random ones."""
    window: TokenWindow
    dropout_seed: int
    """Dropout knows no generator."""


class PriorTrainer(AveragedTrainer[TokenBatch]):
    """Of the prior of images."""

    def __init__(self, prior: Prior, grids: Grids, params: TokenPriorParams, seed: int) -> None:
        super().__init__(prior, params, seed)
        self.prior, self.grids, self.params = prior, grids, params

    def draw(self, step: int) -> TokenBatch:
        generator = self.generator(step)
        placed = torch.rand(self.params.batch_size, generator=generator) < _WHOLE_SHARE
        weights = (placed[:, None] == self.grids.placed).float() + 1e-9  # all alike where there is but one kind
        chosen = torch.multinomial(weights, 1, generator=generator).squeeze(1)
        ids, window = draw_windows(self.grids, chosen, self.prior.window, generator)
        return token_batch(ids, window, self.prior.codes, self.params.token_noise, generator)

    def loss(self, batch: TokenBatch) -> Tensor:
        return token_loss(self.prior, batch, self.params.inside_weight)


def token_batch(ids: Tensor, window: TokenWindow, codes: int, noise: float, generator: torch.Generator) -> TokenBatch:
    """`ids` (n, cells) are in raster order; of those that are read, the share `noise` is drawn from all `codes`."""
    dropout_seed = int(torch.randint(2**62, (), generator=generator))
    targets = ids.gather(1, window.order)
    noisy = torch.rand(targets.shape, generator=generator) < noise
    read = torch.where(noisy, torch.randint(codes, targets.shape, generator=generator), targets)
    return TokenBatch(targets, read, window, dropout_seed)


def token_loss(prior: Prior, batch: TokenBatch, inside_weight: float) -> Tensor:
    """The weighted mean cross-entropy in nats of the batch's targets."""
    torch.manual_seed(batch.dropout_seed)
    with lower_precision(batch.read.device):
        logits = prior(batch.read, batch.window)
    loss = functional.cross_entropy(logits.float().movedim(-1, 1), batch.targets, reduction="none")
    weights = 1 + (inside_weight - 1) * (batch.window.covers.gather(1, batch.window.order) > 0)
    return (loss * weights).sum() / weights.sum()


def draw_windows(grids: Grids, chosen: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, TokenWindow]:
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
    window = TokenWindow(
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
