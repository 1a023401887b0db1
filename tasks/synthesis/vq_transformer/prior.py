"""The prior: a GPT over a window of tokens, told what the window shows, where it lies and which cells the mask meets.

In: ids, an order to read them in, and conditions. Out: logits of each next token. Taming Transformers (arXiv
2012.09841, eq. 9 and 10) prepends the condition; so do label and setting here. The mask goes with the cells: each is
read with its place and cover, and with those of the cell to be predicted next. That one also is told the tokens
beside it that are known by then: a few minutes of training do not teach attention to find them. The network is
transformers' GPT-2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, GPT2Config, GPT2Model

from tasks.params.systems import TokenPriorParams

COVERS = 3
"""A cell outside the mask, one that the mask meets, and one that lies in it wholly: 0, 1, 2."""
_RATES = 8
"""Wavelengths that tell a row or a column, from two cells to twice the window or the image."""
_PREFIX = 2
"""Condition tokens before the first cell."""
_SPREAD = 0.3
"""Standard deviation of new embeddings, about that of the places."""


@dataclass(frozen=True)
class TokenWindow:
    """What the prior is told of n windows."""

    labels: Tensor
    """(n,): category and defect type."""
    settings: Tensor
    """(n,): what else is told of a window as a whole, such as how large a mask is to be."""
    positions: Tensor
    """(n, cells, 2): each cell's row and column in the whole image, in [0, 1]; negative where that is not told."""
    covers: Tensor
    """(n, cells): how far the mask covers each cell."""
    order: Tensor
    """(n, cells): the cells in the order in which they are read."""


class Prior(nn.Module):
    """Over windows of `window` x `window` tokens."""

    waves: Tensor
    beside: Tensor

    def __init__(self, codes: int, labels: int, settings: int, window: int, params: TokenPriorParams) -> None:
        super().__init__()
        self.window, self.codes, width = window, codes, params.width
        self.token, self.label, self.setting = (_embedding(size, width) for size in (codes, labels, settings))
        self.cover, self.next_cover = _embedding(COVERS, width), _embedding(COVERS, width)
        self.neighbour = _embedding(4 * (codes + 1), width)
        self.register_buffer("waves", place_waves(window), persistent=False)
        self.register_buffer("beside", cells_beside(window), persistent=False)
        self.place, self.next_place = (nn.Linear(4 * _RATES, width, bias=False) for _ in range(2))
        self.next_position = nn.Linear(4 * _RATES, width, bias=False)
        self.network = GPT2Model(_gpt2(window**2 + _PREFIX, params))
        self.network.wte.requires_grad_(False)
        self.head = nn.Linear(width, codes)

    def forward(self, ids: Tensor, window: TokenWindow) -> Tensor:
        """Logits (n, cells, codes) of every cell of `ids` (n, cells), both in the window's order."""
        tokens = torch.cat([self._prefix(ids, window), self._read(ids, window, 0, self.window**2 - 1)], dim=1)
        hidden = self.network(inputs_embeds=tokens, use_cache=False).last_hidden_state
        logits: Tensor = self.head(hidden[:, _PREFIX - 1 :])
        return logits

    def begin(self, ids: Tensor, known: int, window: TokenWindow) -> tuple[Tensor, DynamicCache]:
        """Read the first `known` cells of `ids` (n, cells): the logits (n, codes) of the next, and a cache.

        `ids` are in the window's order; what they hold further on is not read.
        """
        cache = DynamicCache()
        tokens = torch.cat([self._prefix(ids, window), self._read(ids, window, 0, known)], dim=1)
        return self._advance(tokens, cache), cache

    def go_on(self, ids: Tensor, number: int, window: TokenWindow, cache: DynamicCache) -> Tensor:
        """Read the cell of this number of `ids` (n, cells): the logits (n, codes) of the next one."""
        return self._advance(self._read(ids, window, number, 1), cache)

    def _advance(self, tokens: Tensor, cache: DynamicCache) -> Tensor:
        hidden = self.network(inputs_embeds=tokens, past_key_values=cache, use_cache=True).last_hidden_state
        logits: Tensor = self.head(hidden[:, -1])
        return logits

    def _prefix(self, ids: Tensor, window: TokenWindow) -> Tensor:
        setting = self.setting(window.settings) + self._next(ids, window, 0, 1)[:, 0]
        return torch.stack([self.label(window.labels), setting], dim=1)

    def _read(self, ids: Tensor, window: TokenWindow, start: int, count: int) -> Tensor:
        """`count` cells from number `start` of the order on: token, place, cover and label, and what comes next."""
        part = slice(start, start + count)
        cells = window.order[:, part]
        own = self.token(ids[:, part]) + self.place(self.waves[cells]) + self.cover(window.covers.gather(1, cells))
        return own + self.label(window.labels)[:, None] + self._next(ids, window, start + 1, count)

    def _next(self, ids: Tensor, window: TokenWindow, start: int, count: int) -> Tensor:
        """`count` cells from number `start` of the order on, as they are known before: all but their tokens."""
        cells = window.order[:, start : start + count]
        positions = window.positions.gather(1, cells[..., None].expand(-1, -1, 2))
        place = self.next_place(self.waves[cells]) + self.next_position(position_waves(positions))
        around = self.neighbour(self._neighbours(ids, window, start, count)).sum(dim=2)
        return place + self.next_cover(window.covers.gather(1, cells)) + around

    def _neighbours(self, ids: Tensor, window: TokenWindow, start: int, count: int) -> Tensor:
        """(n, count, 4): the tokens beside each cell that are read before it is; a token of its own where none is."""
        rank = functional.pad(window.order.argsort(dim=1), (0, 1), value=self.window**2)
        beside = self.beside[window.order[:, start : start + count]]
        ranks = rank.gather(1, beside.flatten(1)).view_as(beside)
        seen = ranks < torch.arange(start, start + count, device=ids.device)[:, None]
        tokens = ids.gather(1, ranks.clamp_max(self.window**2 - 1).flatten(1)).view_as(beside)
        return torch.where(seen, tokens, self.codes) + torch.arange(4, device=ids.device) * (self.codes + 1)


def _embedding(size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(size, width)
    nn.init.normal_(embedding.weight, std=_SPREAD)
    return embedding


def _gpt2(positions: int, params: TokenPriorParams) -> GPT2Config:
    return GPT2Config(
        vocab_size=1,  # what it reads is embedded here, with place and cover
        bos_token_id=None,
        eos_token_id=None,
        n_positions=positions,
        n_embd=params.width,
        n_layer=params.layers,
        n_head=params.heads,
        resid_pdrop=params.dropout,
        embd_pdrop=params.dropout,
        attn_pdrop=0.0,
    )


def place_waves(window: int) -> Tensor:
    """(cells, features): sines and cosines of each cell's row and column (Vaswani et al., arXiv 1706.03762, 3.5).

    The neighbour of a cell is then found by one turn of these features, the same for all cells.
    """
    line = torch.arange(window)
    places = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=2).flatten(0, 1)
    return _waves(places, torch.pi * torch.logspace(0, -1, _RATES, base=window))


def position_waves(positions: Tensor) -> Tensor:
    """(..., features) of positions (..., 2) in [0, 1]; nothing but zeros for a negative one."""
    rates = torch.pi * torch.arange(1, _RATES + 1, device=positions.device)
    return _waves(positions, rates) * (positions[..., :1] >= 0)


def _waves(points: Tensor, rates: Tensor) -> Tensor:
    """Points (..., 2) to (..., 4 * rates)."""
    angles = (points[..., None] * rates).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def cells_beside(window: int) -> Tensor:
    """(cells, 4): the cells above, below, left and right of each; the number of cells where there is none."""
    cells = functional.pad(torch.arange(window**2).view(window, window), (1, 1, 1, 1), value=window**2)
    sides = [cells[:-2, 1:-1], cells[2:, 1:-1], cells[1:-1, :-2], cells[1:-1, 2:]]
    return torch.stack(sides, dim=2).flatten(0, 1)


def cover_of(masks: Tensor, factor: int) -> Tensor:
    """(n, 1, h, w) of 0 and 1 to (n, h / factor, w / factor) in {0, 1, 2}: outside, met by the mask, wholly in it."""
    met = functional.max_pool2d(masks, factor)
    whole = -functional.max_pool2d(-masks, factor)
    return (met + whole).squeeze(1).long()
