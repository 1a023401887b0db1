"""Whether an arm's defects can be learned from at all: masks that hold something, and images that differ.

In: synthetic examples. Out: shares. Two defects are near-duplicates by the rule that a release selects by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.contracts import Image
from tasks.detectors.protocol import Example
from tasks.networks.lpips import shared_lpips
from tasks.params import SelectParams
from tasks.quality.descriptor import descriptors_of
from tasks.quality.nearest import nearest_accepted


@dataclass(frozen=True)
class Validity:
    defects: int
    empty_masks: float
    """Share of defects without a mask or with an empty one."""
    near_duplicates: float
    """Share of defects nearer by LPIPS to an earlier one than `select.min_nearest_lpips` allows by default."""

    @property
    def sentence(self) -> str:
        return (
            f"{self.defects} defects, {self.empty_masks:.0%} with an empty mask, {self.near_duplicates:.0%} "
            "near-duplicates"
        )


def validity_of(defects: Sequence[Example]) -> Validity:
    """Raises DefectoryError where LPIPS's weights are missing."""
    empty = [defect.mask is None or not defect.mask.any() for defect in defects]
    descriptors = np.array([_descriptor(defect.image) for defect in defects], dtype=np.float64)
    threshold = SelectParams().min_nearest_lpips
    near = nearest_accepted(descriptors, threshold) < threshold
    return Validity(len(defects), float(np.mean(empty)), float(near.mean()))


@torch.inference_mode()
def _descriptor(image: Image) -> NDArray[np.float16]:
    """(256,); each image by itself, so that its bits do not depend on companions."""
    levels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    found: NDArray[np.float16] = descriptors_of(shared_lpips("alexnet"), levels)[0].numpy()
    return found
