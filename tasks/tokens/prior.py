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

from tasks.system_params import TokenPriorParams

COVERS = 3
"""A cell outside the mask, one that the mask meets, and one that lies in it wholly: 0, 1, 2."""
_RATES = 8
"""Wavelengths that tell a row or a column, from two cells to twice the window."""
_PREFIX = 2
"""Condition tokens before the first cell."""
_SPREAD = 0.3
"""Standard deviation of new embeddings, about that of the places."""


@dataclass(frozen=True)
class Window:
    """What the prior is told of n windows."""

    labels: Tensor
    """(n,): category and defect type."""
    settings: Tensor
    """(n,): where in the image the window lies, or how large a mask is."""
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
        self.token, self.label, self.setting = (nn.Embedding(count, width) for count in (codes, labels, settings))
        self.cover, self.next_cover = nn.Embedding(COVERS, width), nn.Embedding(COVERS, width)
        self.neighbour = nn.Embedding(4 * (codes + 1), width)
        for embedding in self.children():
            nn.init.normal_(embedding.weight, std=_SPREAD)
        self.register_buffer("waves", place_waves(window), persistent=False)
        self.register_buffer("beside", cells_beside(window), persistent=False)
        self.place, self.next_place = (nn.Linear(self.waves.shape[1], width, bias=False) for _ in range(2))
        self.network = GPT2Model(_gpt2(window**2 + _PREFIX, params))
        self.head = nn.Linear(width, codes)

    def forward(self, ids: Tensor, window: Window) -> Tensor:
        """Logits (n, cells, codes) of every cell of `ids` (n, cells), both in the window's order."""
        tokens = torch.cat([self._prefix(ids, window), self._read(ids, window, 0, self.window**2 - 1)], dim=1)
        hidden = self.network(inputs_embeds=tokens, use_cache=False).last_hidden_state
        logits: Tensor = self.head(hidden[:, _PREFIX - 1 :])
        return logits

    def begin(self, ids: Tensor, known: int, window: Window) -> tuple[Tensor, DynamicCache]:
        """Read the first `known` cells of `ids` (n, cells): the logits (n, codes) of the next, and a cache.

        `ids` are in the window's order; what they hold further on is not read.
        """
        cache = DynamicCache()
        tokens = torch.cat([self._prefix(ids, window), self._read(ids, window, 0, known)], dim=1)
        return self._advance(tokens, cache), cache

    def go_on(self, ids: Tensor, number: int, window: Window, cache: DynamicCache) -> Tensor:
        """Read the cell of this number of `ids` (n, cells): the logits (n, codes) of the next one."""
        return self._advance(self._read(ids, window, number, 1), cache)

    def _advance(self, tokens: Tensor, cache: DynamicCache) -> Tensor:
        hidden = self.network(inputs_embeds=tokens, past_key_values=cache, use_cache=True).last_hidden_state
        logits: Tensor = self.head(hidden[:, -1])
        return logits

    def _prefix(self, ids: Tensor, window: Window) -> Tensor:
        setting = self.setting(window.settings) + self._next(ids, window, 0, 1)[:, 0]
        return torch.stack([self.label(window.labels), setting], dim=1)

    def _read(self, ids: Tensor, window: Window, start: int, count: int) -> Tensor:
        """`count` cells from number `start` of the order on: token, place, cover and label, and what comes next."""
        part = slice(start, start + count)
        cells = window.order[:, part]
        own = self.token(ids[:, part]) + self.place(self.waves[cells]) + self.cover(window.covers.gather(1, cells))
        return own + self.label(window.labels)[:, None] + self._next(ids, window, start + 1, count)

    def _next(self, ids: Tensor, window: Window, start: int, count: int) -> Tensor:
        """`count` cells from number `start` of the order on, as they are known before: place, cover and neighbours."""
        cells = window.order[:, start : start + count]
        place = self.next_place(self.waves[cells]) + self.next_cover(window.covers.gather(1, cells))
        return place + self.neighbour(self._neighbours(ids, window, start, count)).sum(dim=2)

    def _neighbours(self, ids: Tensor, window: Window, start: int, count: int) -> Tensor:
        """(n, count, 4): the tokens beside each cell that are read before it is; a token of its own where none is."""
        rank = functional.pad(window.order.argsort(dim=1), (0, 1), value=self.window**2)
        beside = self.beside[window.order[:, start : start + count]]
        ranks = rank.gather(1, beside.flatten(1)).view_as(beside)
        seen = ranks < torch.arange(start, start + count)[:, None]
        tokens = ids.gather(1, ranks.clamp_max(self.window**2 - 1).flatten(1)).view_as(beside)
        return torch.where(seen, tokens, self.codes) + torch.arange(4) * (self.codes + 1)


def _gpt2(positions: int, params: TokenPriorParams) -> GPT2Config:
    return GPT2Config(
        vocab_size=1,  # its own embedding is not used: what it reads is embedded with its place and cover
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
    rates = torch.pi / torch.logspace(0, 1, _RATES, base=window)
    angles = torch.arange(window)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, window, -1), line[None].expand(window, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


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
