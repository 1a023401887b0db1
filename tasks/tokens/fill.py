"""Filling in tokens: one by one, each drawn from the prior's guided distribution.

In: a grid of ids, which of its cells are free, and what is wanted there. Out: the grid with the free cells drawn
anew, all others untouched. Guidance as in Make-A-Scene (Gafni et al., arXiv 2203.13131, section 3.4), between two
labels: l_rival + g (l_label - l_rival). The noise of a draw belongs to the cell (Gumbel-max), so that two strengths
differ by their logits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.networks.device import device_of, moved
from tasks.tokens.grids import positions_of
from tasks.tokens.order import reading_order
from tasks.tokens.prior import Prior, Window
from tasks.tokens.sliding import View, views_over


@dataclass(frozen=True)
class Wish:
    """What is to be filled in."""

    label: int
    rival: int
    """The label that guidance leads away from."""
    strength: float
    """1 follows the label, 0 the rival; more than 1 goes beyond the label."""
    temperature: float = 1.0
    top_k: int = 100


@torch.no_grad()
def fill(
    prior: Prior,
    ids: Tensor,
    free: Tensor,
    covers: Tensor,
    wish: Wish,
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


def window_of(view: View, covers: Tensor, labels: list[int], placed: bool) -> Window:
    """The view as the prior is told of it, once for each label; on the host, as `covers` are."""
    count = len(labels)
    return Window(
        torch.tensor(labels),
        torch.zeros(count, dtype=torch.long),
        positions_of(view.top, view.left, view.side, covers.shape, placed).expand(count, -1, -1),
        covers[view.part].reshape(1, -1).expand(count, -1),
        reading_order(view.known, view.wanted).expand(count, -1),
    )


def _fill_view(prior: Prior, ids: Tensor, view: View, window: Window, wish: Wish, noise: Tensor) -> Tensor:
    """`ids` (cells,) with the wanted cells drawn one after another; `noise` is (cells, codes)."""
    order, known = window.order[0], int(view.known.sum())
    last = known + int(view.wanted.sum()) - 1
    ordered, noise = ids[order].expand(2, -1).contiguous(), noise[order]
    logits, cache = prior.begin(ordered, known, window)
    for number in range(known, last + 1):
        choice = guided(logits[0], logits[1], wish.strength)
        ordered[:, number] = draw(choice, wish.temperature, wish.top_k, noise[number])
        if number < last:
            logits = prior.go_on(ordered, number, window, cache)
    return ids.scatter(0, order, ordered[0])


def guided(label: Tensor, rival: Tensor, strength: float) -> Tensor:
    """rival + strength * (label - rival), of the log-probabilities that logits (codes,) stand for."""
    label, rival = label.log_softmax(dim=-1), rival.log_softmax(dim=-1)
    return rival + strength * (label - rival)


def draw(logits: Tensor, temperature: float, top_k: int, noise: Tensor) -> Tensor:
    """Ids (...) from logits and Gumbel noise (..., codes), among the `top_k` likeliest."""
    least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
    noisy = logits + temperature * noise
    return torch.where(logits >= least, noisy, -torch.inf).argmax(dim=-1)


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise whose largest sum with logits is a draw from their softmax; on the host, as the generator is."""
    return -torch.empty(shape).exponential_(generator=generator).log()
