"""The conditional denoiser, behind one call: `denoiser(noisy, timesteps, condition) -> prediction`.

The condition is the trimap (1 on the defect, 0.5 on the rest of the object, 0 on the background: AdaBLDM,
arXiv 2402.19330), the clean surroundings of the mask, and a label: one for each category and defect type, clean
included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tasks.contracts import CLEAN, DefectoryError
from tasks.diffusion.latents import cells_of


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told about each of n images."""

    trimap: Tensor
    """(n, 1, height, width) with the values 0, 0.5 and 1."""
    surroundings: Tensor
    """(n, channels, h, w): latents of what is around the defect. Of the clean image, 0 in the cells to be painted; for
    a denoiser with `hole_pixels` of the image without these pixels."""
    labels: Tensor
    """(n,) indices; the last index of the table is the empty label."""

    def without_defect(self, clean_labels: Tensor) -> Condition:
        """The same place with nothing to paint: the trimap without its 1, and the clean label."""
        return replace(self, trimap=self.trimap.clamp_max(0.5), labels=clean_labels)

    def join(self, other: Condition) -> Condition:
        return Condition(
            torch.cat([self.trimap, other.trimap]),
            torch.cat([self.surroundings, other.surroundings]),
            torch.cat([self.labels, other.labels]),
        )


def make_condition(latents: Tensor, trimap: Tensor, labels: Tensor, reach: int = 1) -> Condition:
    """A condition whose surroundings are `latents` outside of the cells that the trimap's defect touches."""
    cells = cells_of((trimap == 1).float(), reach)
    return Condition(trimap, latents * (1 - cells), labels)


class Denoiser(nn.Module, ABC):
    """What is trained on, and painted with, a Condition."""

    empty_label: int

    def hole_pixels(self, masks: Tensor) -> Tensor | None:
        """The pixels (n, 1, height, width) that are taken out of an image before it is encoded as the surroundings.

        None: none are; the cells of the clean image's latents are taken out.
        """
        return None

    @abstractmethod
    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The prediction, of the shape of `noisy` (n, channels, h, w); `timesteps` (n,)."""

    @abstractmethod
    def trained_state(self) -> dict[str, Tensor]:
        """The part of the state that training makes, and that is worth a file."""


@dataclass(frozen=True)
class LabelTable:
    """Pairs (category, defect type) in sorted order; a pair's place is its label."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> LabelTable:
        """The table of the given pairs; every category gets its clean label."""
        given = set(pairs)
        return cls(tuple(sorted(given | {(category, CLEAN) for category, _ in given})))

    def index(self, category: str, defect_type: str) -> int:
        try:
            return self.pairs.index((category, defect_type))
        except ValueError:
            raise DefectoryError(
                f"the model was not trained on {category}/{defect_type}; "
                f"it knows {', '.join('/'.join(pair) for pair in self.pairs)}; train again with these inputs"
            ) from None

    def __len__(self) -> int:
        return len(self.pairs)
