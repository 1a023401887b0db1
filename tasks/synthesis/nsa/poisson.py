"""Poisson's equation inside a mask: one picture's gradients between another picture's borders.

In: a mask, the picture around it and a patch. Out: the picture with the mask's pixels solved for. Source: Pérez,
Gangnet and Blake, "Poisson Image Editing" (SIGGRAPH 2003), equations 7 to 13: for every pixel p of the mask
|N_p| f_p - sum of f_q over its neighbours q in the mask = sum of I_q over the others + sum of v_pq over all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from tasks.contracts import Image, Mask
from tasks.synthesis.pixels import Levels

_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


class PoissonEquation:
    """The equation of one mask, factorised once; the mask must leave a part of the image out."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self._pixels = np.argwhere(mask)
        self._pairs = [self._neighbours(step) for step in _STEPS]
        number = np.full(mask.shape, -1)
        number[mask] = np.arange(len(self._pixels))
        centre = np.concatenate([here for here, _ in self._pairs])
        other = np.concatenate([number[tuple(there.T)] for _, there in self._pairs])
        inner = other >= 0
        links = sparse.coo_matrix((np.ones(inner.sum()), (centre[inner], other[inner])), shape=[len(self._pixels)] * 2)
        counts = sparse.diags(np.bincount(centre).astype(np.float64))
        self._solver = splu((counts - links).tocsc(), permc_spec="MMD_AT_PLUS_A")

    def solve(self, image: Image, patch: Levels, mixed: bool) -> Levels:
        """The image with the mask's pixels solved for, (height, width, 3) in grey levels, not clipped.

        `patch`, of the image's shape, gives the guidance v_pq = P_p - P_q; `mixed` takes I_p - I_q where that is
        steeper. It is read inside the mask and at the pixels next to it.
        """
        below = image.astype(np.float64)
        right = np.zeros((len(self._pixels), below.shape[2]))
        for here, there in self._pairs:
            inside, beside = self._pixels[here], tuple(there.T)
            guidance = patch[tuple(inside.T)] - patch[beside].astype(np.float64)
            if mixed:
                own = below[tuple(inside.T)] - below[beside]
                guidance = np.where(np.abs(own) > np.abs(guidance), own, guidance)
            right[here] += guidance + np.where(self.mask[beside][:, None], 0.0, below[beside])
        below[self.mask] = self._solver.solve(right)
        solved: Levels = below.astype(np.float32)
        return solved

    def _neighbours(self, step: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of the mask's pixels that have a neighbour in this direction, and those neighbours' places."""
        there = self._pixels + step
        inside = ((there >= 0) & (there < self.mask.shape)).all(axis=1)
        return np.flatnonzero(inside), there[inside]
