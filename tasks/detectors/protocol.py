"""The nouns of the evaluation: what an arm trains on, what it is tested on, and what a detector says.

An arm is one way to get defects to train on. All arms of a run share their normal images, their test set, their
detectors and their budget, so what differs between two arms' figures comes from their defects alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.contracts import CLEAN, Image, Mask
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report

PHOTOGRAPH = "photograph"

Role = Literal["ours", "single", "baseline", "real", "control", "floor", "ceiling"]
"""`ours` is the dataset under test, `single` one of the systems it is mixed from; a baseline is free to make; `real`
has real defects in it that a generator saw; the control must fall to chance; the floor knows normal images alone; the
ceiling has seen other real test defects."""


@dataclass(frozen=True)
class Example:
    """One labelled image, photographed or synthetic, at the evaluation's size."""

    example_id: str
    image: Image
    defect_type: str
    """`CLEAN` without a defect."""
    mask: Mask | None = None
    """Of the defect; None for a clean image, and where a photograph is labelled as a whole only."""
    origin: str = PHOTOGRAPH
    """`PHOTOGRAPH`, or what made the image. Origins are drawn in equal shares, so that hundreds of synthetic images
    do not drown a few real ones."""
    group: str = ""
    """Of a photograph: images of one physical object share it."""

    @property
    def defective(self) -> bool:
        return self.defect_type != CLEAN


@dataclass(frozen=True)
class SyntheticSet:
    """Synthetic examples of one category, to make an arm of."""

    name: str
    role: Role
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Arm:
    """One way to get defects to train on."""

    name: str
    role: Role
    normals: tuple[Example, ...]
    defects: tuple[Example, ...]
    """Empty for the floor. Each has a mask, a pseudo-mask where there is no other."""
    unseen: frozenset[str] | None = None
    """The ids of the test's defects that are not among `defects`; None: all of them. An arm that trains on test
    defects comes in parts of one name, each of which is tested on what it has not seen."""


@dataclass(frozen=True)
class TestSet:
    """Photographs of the test split, normal and defective."""

    __test__ = False  # or pytest collects it

    examples: tuple[Example, ...]

    @property
    def images(self) -> list[Image]:
        return [example.image for example in self.examples]

    @property
    def defective(self) -> NDArray[np.bool_]:
        """(n,), by image."""
        return np.array([example.defective for example in self.examples], dtype=bool)

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """(n, height, width), empty for normal images; None where a defective image has no mask."""
        if any(example.defective and example.mask is None for example in self.examples):
            return None
        return np.stack([_mask_of(example) for example in self.examples])


def _mask_of(example: Example) -> Mask:
    return np.zeros(example.image.shape[:2], dtype=bool) if example.mask is None else example.mask


@dataclass(frozen=True)
class Scored:
    """What a detector says of n images: higher is more anomalous."""

    maps: NDArray[np.float32]
    """(n, height, width), at the images' size."""
    image_scores: NDArray[np.float32]
    """(n,)."""


class Detector(Protocol):
    """A consumer of the data; a module with these functions is one. It never sees the test set while it is fitted."""

    def fit(self, arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> Any:
        """Train on the arm's images for a fixed budget; the same arm, params and seed give the same model."""

    def score(self, model: Any, images: Sequence[Image]) -> Scored:
        """Maps and scores of images; an image's do not depend on those beside it."""
