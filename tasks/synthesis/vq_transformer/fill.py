"""Filling in tokens: one by one, each drawn from the prior's guided distribution.

In: a grid of ids, which of its cells are free, and what is wanted there. Out: the grid with the free cells drawn
anew, all others untouched. Guidance as in Make-A-Scene (Gafni et al., arXiv 2203.13131, section 3.4), between two
labels: l_rival + g (l_label - l_rival). The noise of a draw belongs to the cell (Gumbel-max), so that two strengths
differ by their logits alone.

The sliding window: a grid of tokens of any size, seen through a window of the size that the prior knows.

In: the cells to be visited. Out: windows, each with what is known when its turn comes and what is to be made in it.
Taming Transformers (arXiv 2012.09841, section 3.3) moves the window by a token at a time; here it moves on when all
of it that is far enough from its later edges is made, so that the transformer's cache lives as long as a window does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.networks.device import device_of, moved
from tasks.synthesis.vq_transformer.grids import positions_of, reading_order
from tasks.synthesis.vq_transformer.prior import Prior, TokenWindow


@dataclass(frozen=True)
class TokenRequest:
    """What is to be filled in."""

    label: int
    rival: int
    """The label that guidance leads away from."""
    strength: float
    """1 follows the label, 0 the rival; more than 1 goes beyond the label."""
    temperature: float = 1.0
    top_k: int = 100


@torch.no_grad()
def fill_tokens(
    prior: Prior,
    ids: Tensor,
    free: Tensor,
    covers: Tensor,
    wish: TokenRequest,
    generator: torch.Generator,
    placed: bool = False,
) -> Tensor:
    """`ids` (h, w) with the cells of `free` (bool, h, w) drawn anew; `covers` (h, w) as `prior.cover_of` gives them.

    `free` and `covers` are on the host, where windows are chosen; the result is where the prior is.
    `placed`: the grid is a whole image, in which parts have their places, and no view of one.
    """
    device = device_of(prior)
    noise = moved(gumbel((*ids.shape, prior.codes), generator), device)
    ids = ids.to(device, copy=True)
    for view in views_over(free, prior.window):
        window = moved(window_of(view, covers, [wish.label, wish.rival], placed), device)
        filled = _fill_view(prior, ids[view.part].flatten(), view, window, wish, noise[view.part].flatten(0, 1))
        ids[view.part] = filled.view(view.side, view.side)
    return ids


def window_of(view: View, covers: Tensor, labels: list[int], placed: bool) -> TokenWindow:
    """The view as the prior is told of it, once for each label; on the host, as `covers` are."""
    count = len(labels)
    return TokenWindow(
        torch.tensor(labels),
        torch.zeros(count, dtype=torch.long),
        positions_of(view.top, view.left, view.side, covers.shape, placed).expand(count, -1, -1),
        covers[view.part].reshape(1, -1).expand(count, -1),
        reading_order(view.known, view.wanted).expand(count, -1),
    )


def _fill_view(prior: Prior, ids: Tensor, view: View, window: TokenWindow, wish: TokenRequest, noise: Tensor) -> Tensor:
    """`ids` (cells,) with the wanted cells drawn one after another; `noise` is (cells, codes)."""
    order, known = window.order[0], int(view.known.sum())
    last = known + int(view.wanted.sum()) - 1
    ordered, noise = ids[order].expand(2, -1).contiguous(), noise[order]
    logits, cache = prior.begin(ordered, known, window)
    for number in range(known, last + 1):
        choice = guided_logits(logits[0], logits[1], wish.strength)
        ordered[:, number] = draw_ids(choice, wish.temperature, wish.top_k, noise[number])
        if number < last:
            logits = prior.go_on(ordered, number, window, cache)
    return ids.scatter(0, order, ordered[0])


def guided_logits(label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """rival + strength * (label - rival), of the log-probabilities that logits (codes,) stand for."""
    label, rival = label.log_softmax(dim=-1), rival.log_softmax(dim=-1)
    return rival + strength * (label - rival)


def draw_ids(logits: Tensor, temperature: float, top_k: int, noise: Tensor) -> Tensor:
    """Ids (...) from logits and Gumbel noise (..., codes), among the `top_k` likeliest."""
    least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
    noisy = logits + temperature * noise
    return torch.where(logits >= least, noisy, -torch.inf).argmax(dim=-1)


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise whose largest sum with logits is a draw from their softmax; on the host, as the generator is."""
    return -torch.empty(shape).exponential_(generator=generator).log()


@dataclass(frozen=True)
class View:
    """One position of the window."""

    top: int
    left: int
    side: int
    known: Tensor
    """(side * side,) bool, in raster order."""
    wanted: Tensor
    """(side * side,) bool: to be made now; what is neither known nor wanted is left to a later window."""

    @property
    def part(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def views_over(free: Tensor, side: int) -> Iterator[View]:
    """Windows that together want every cell of `free` (bool, h, w) once; all other cells are known from the start.

    On the host, for each window depends on what the ones before it left.
    """
    unknown = free.clone()
    while unknown.any():
        top, left = _corner(unknown, side)
        part = (slice(top, top + side), slice(left, left + side))
        wanted = unknown[part] & _inner(top, left, side, *free.shape)
        yield View(top, left, side, ~unknown[part].flatten(), wanted.flatten())
        unknown[part] &= ~wanted


def _corner(unknown: Tensor, side: int) -> tuple[int, int]:
    """The window in which the first unknown cell lies a quarter from the top and left: what follows lies below it."""
    row = int(unknown.any(dim=1).nonzero()[0])
    column = int(unknown[row].nonzero()[0])
    height, width = unknown.shape
    return min(max(row - side // 4, 0), height - side), min(max(column - side // 4, 0), width - side)


def _inner(top: int, left: int, side: int, height: int, width: int) -> Tensor:
    """(side, side) bool: all but the window's last quarters, where the grid goes on beyond them."""
    cells = torch.zeros((side, side), dtype=torch.bool)
    rows = side - (side // 4 if top + side < height else 0)
    columns = side - (side // 4 if left + side < width else 0)
    cells[:rows, :columns] = True
    return cells
