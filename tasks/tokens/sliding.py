"""The sliding window: a grid of tokens of any size, seen through a window of the size that the prior knows.

In: the cells to be visited. Out: windows, each with what is known when its turn comes and what is to be made in it.
Taming Transformers (arXiv 2012.09841, section 3.3) moves the window by a token at a time; here it moves on when all
of it that is far enough from its later edges is made, so that the transformer's cache lives as long as a window does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


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
