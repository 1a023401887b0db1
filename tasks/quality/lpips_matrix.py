"""LPIPS between all images of one set and all of another, as matrix products.

LPIPS is a weighted squared Euclidean distance between normalised feature maps. So an image is one row of numbers,
computed once, whose squared distance to another image's row is their LPIPS; and |a - b|^2 = |a|^2 + |b|^2 - 2 ab makes
a matrix product of all distances. In: images of one size and a network. Out: exact distances. Memory is bounded: rows
are kept while they fit and computed again where they do not, and the product goes block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.contracts import DefectoryError, Image
from tasks.networks.lpips import LPIPS

MEMORY = 4 * 2**30
"""Bytes. A row takes 2.6 MB with AlexNet and 33 MB with VGG-16 at 256 px."""
_BATCH = 4
"""Images that the network sees at once."""
_BLOCKS = 4
"""A part in so many of the memory is one block; two are multiplied at a time, the rest holds rows."""


class FeatureRows:
    """The images of one set as rows of numbers whose squared Euclidean distances are LPIPS.

    `images` may be any sequence, so that it can read them from disk when they are asked for; all are (height, width, 3)
    of one size. `memory` bounds what rows take, in bytes; the network's own activations come on top.
    """

    def __init__(self, network: LPIPS, images: Sequence[Image], memory: int = MEMORY) -> None:
        self._network, self._images = network, images
        self._kept: dict[int, Tensor] = {}
        self._row = self._compute([0])[0] if len(images) else torch.empty(1)
        row_bytes = self._row.nbytes
        self._most_kept = memory * (_BLOCKS - 2) // _BLOCKS // row_bytes
        self._block = max(1, memory // _BLOCKS // row_bytes)

    def __len__(self) -> int:
        return len(self._images)

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The rows of the images of these numbers, (n, features)."""
        rows = self._row.new_empty(len(numbers), len(self._row))
        missing = [place for place, number in enumerate(numbers) if number not in self._kept]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            rows[batch] = self._compute([numbers[place] for place in batch])
        for place, number in enumerate(numbers):
            if number in self._kept:
                rows[place] = self._kept[number]
            elif len(self._kept) < self._most_kept:
                self._kept[number] = rows[place].clone()
        return rows

    def blocks(self, numbers: Sequence[int]) -> Iterator[tuple[slice, Tensor]]:
        """The rows of these images a block at a time, each with its place among `numbers`."""
        for start in range(0, len(numbers), self._block):
            place = slice(start, min(start + self._block, len(numbers)))
            yield place, self.rows(numbers[place])

    @torch.inference_mode()
    def _compute(self, numbers: Sequence[int]) -> Tensor:
        images = [self._images[number] for number in numbers]
        if len({image.shape for image in images}) > 1:
            raise DefectoryError(
                f"LPIPS compares images of one size, got {sorted({image.shape for image in images})}; bring them to one"
            )
        levels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self._network.shift.device)
        maps = self._network.features(levels.float() / 127.5 - 1)
        # The distance takes the mean over a map's positions: a part of its root goes to either side.
        return torch.cat([(each / (each.shape[2] * each.shape[3]) ** 0.5).flatten(1) for each in maps], dim=1)


def cross_lpips(first: FeatureRows, second: FeatureRows) -> NDArray[np.float32]:
    """The LPIPS of each image of the first set to each of the second, (len(first), len(second))."""
    matrix = np.empty((len(first), len(second)), np.float32)
    for down, rows in first.blocks(range(len(first))):
        for across, others in second.blocks(range(len(second))):
            matrix[down, across] = _squared_distances(rows, others)
    return matrix


def pairwise_lpips(images: FeatureRows, numbers: Sequence[int] | None = None) -> NDArray[np.float32]:
    """The LPIPS between all images, or those of `numbers`: symmetric, with zeros on the diagonal."""
    numbers = range(len(images)) if numbers is None else numbers
    matrix = np.empty((len(numbers), len(numbers)), np.float32)
    for down, rows in images.blocks(numbers):
        matrix[down, down] = _squared_distances(rows, rows)
        for across, others in images.blocks(numbers[down.stop :]):
            beyond = slice(down.stop + across.start, down.stop + across.stop)
            matrix[down, beyond] = _squared_distances(rows, others)
            matrix[beyond, down] = matrix[down, beyond].T
    np.fill_diagonal(matrix, 0)
    return matrix


def _squared_distances(first: Tensor, second: Tensor) -> NDArray[np.float32]:
    squares, others = (torch.linalg.vector_norm(rows, dim=1).square() for rows in (first, second))
    distances = squares[:, None] + others - 2 * (first @ second.T)
    return distances.clamp_min(0).cpu().numpy()
