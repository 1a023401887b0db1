"""The order in which a transformer reads a window of tokens: what is known first, what is to be made after.

Taming Transformers (arXiv 2012.09841) reads in raster order, so that a token to be filled in sees nothing of what
lies right of and below it, though it is known. Tokens that carry their place with them can be read in any order (Yang
et al., XLNet, arXiv 1906.08237; Pannatier et al., arXiv 2404.09562): all that is known first, then the rest in raster
order. With nothing known this is Taming's order; with everything but a mask known it is inpainting that sees all
sides.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
