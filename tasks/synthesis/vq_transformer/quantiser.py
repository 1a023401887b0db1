"""Vector quantisation on the unit sphere, with a codebook that follows its vectors and wastes no entry.

In: feature maps. Out: the nearest codes, their ids and the commitment loss. Taming Transformers (Esser et al., arXiv
2012.09841, eq. 4) has L_vq = |z_q - sg(z)|^2 + beta |sg(z_q) - z|^2. Its released default, like that of diffusers'
`VectorQuantizer`, puts beta on the first term; here, as in the paper, it weighs the commitment, the second. The first
term is replaced by the moving average that minimises it (van den Oord et al., arXiv 1711.00937, appendix A.1). Unit
length is from ViT-VQGAN (Yu et al., arXiv 2110.04627): a code then differs from another by what it shows, not by how
loud it is, and a small codebook stays in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.networks.device import moved

_DEAD_SHARE = 0.05
"""A code used less than this, against an even use of all, is put where vectors are."""


@dataclass(frozen=True)
class Quantised:
    codes: Tensor
    """(n, dim, h, w) of unit length; gradients pass straight through to the vectors."""
    ids: Tensor
    """(n, h, w), int64."""
    distances: Tensor
    """(), the mean over cells of |sg(z_q) - z|^2, whose gradient reaches the vectors only."""


class Quantiser(nn.Module):
    """A codebook of `size` unit vectors. New, it holds none worth having: the first `follow` fills it."""

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int, decay: float = 0.97) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codebook", functional.normalize(torch.eye(size, dim) + 1e-3, dim=1))
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dim))

    @property
    def size(self) -> int:
        return len(self.codebook)

    def forward(self, vectors: Tensor) -> Quantised:
        """`vectors`: (n, dim, h, w) of any length."""
        unit = functional.normalize(vectors.float(), dim=1)
        ids = torch.einsum("ndhw,kd->nkhw", unit.detach(), self.codebook).argmax(dim=1)
        codes = self.lookup(ids)
        distances = (codes - unit).square().sum(dim=1).mean()
        return Quantised(unit + (codes - unit).detach(), ids, distances)

    def lookup(self, ids: Tensor) -> Tensor:
        """(n, h, w) ids to (n, dim, h, w) codes."""
        return self.codebook[ids].movedim(-1, 1)

    @torch.no_grad()
    def follow(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Move every code towards the mean of its vectors (n, dim, h, w), and restart dead ones at random vectors.

        As many numbers are drawn from `generator` as there are dead codes.
        """
        flat = functional.normalize(vectors.float(), dim=1).movedim(1, -1).flatten(0, -2)
        used = functional.one_hot((flat @ self.codebook.T).argmax(dim=1), self.size).float()
        self.counts.lerp_(used.sum(dim=0), 1 - self.decay)
        self.sums.lerp_(used.T @ flat, 1 - self.decay)
        even = len(flat) / self.size
        dead = self.counts < _DEAD_SHARE * even
        drawn = torch.randint(len(flat), (int(dead.sum()),), generator=generator)
        chosen = flat[moved(drawn, flat.device)]
        self.counts[dead] = even
        self.sums[dead] = chosen * even
        self.codebook.copy_(functional.normalize(self.sums, dim=1))
