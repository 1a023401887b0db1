"""Score: what is measured of every candidate. Thresholds act on it later, at release.

In: results, their clean twins and intended masks; out: per sample a row of numbers, the effective mask, the logits of
an ImageNet network and a descriptor. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.contracts import DefectoryError, Image, Mask
from tasks.networks.classifiers import confidence_and_entropy, load_classifier
from tasks.networks.device import HOST
from tasks.networks.lpips import LPIPS, lpips_distance, lpips_map
from tasks.params import ScoreParams
from tasks.quality.change import change, distance_to, effective_mask, max_where, mean_where, within, without_holes
from tasks.quality.descriptor import descriptors_of
from tasks.quality.seam import seam_contrast

BATCH = 4
"""Images the networks see at once, always so many: the shape of a batch may change the last bits of its floats, and
a sample's scores must not depend on how many are scored beside it."""


@dataclass(frozen=True)
class Scores:
    """All that is measured of one sample."""

    values: dict[str, float]
    """lpips_to_clean: LPIPS (AlexNet) to the clean twin, of the whole image.
    lpips_inside: the spatial LPIPS map averaged over the intended mask; with the next, the defect's visibility.
    change_inside: mean absolute change against the clean twin over the mask and channels, in grey levels.
    outside_max_abs, outside_mean_abs: largest and mean absolute change outside mask and feather ring, in grey
    levels; exactly 0 for a good paste.
    seam_contrast: see `seam.seam_contrast`; 1 where no border shows.
    class_confidence, class_entropy: the largest softmax probability and the entropy in nats of the logits.
    intended_area, effective_area: shares of the image that the two masks cover.
    effective_share: the share of the intended mask that the effective one covers; the ring does not count."""
    effective_mask: Mask
    logits: NDArray[np.float16]
    """(classes,): 1000 of EfficientNet-Lite0, 1008 of InceptionV3."""
    descriptor: NDArray[np.float16]
    """(256,), see `descriptor.describe`."""


@dataclass(frozen=True)
class _Perceived:
    """What the networks say of a batch; arrays with one entry an image."""

    to_clean: NDArray[np.float32]
    maps: NDArray[np.float32]
    logits: NDArray[np.float16]
    descriptors: NDArray[np.float16]


class Scorer:
    """Holds the networks; build one a process. Raises DefectoryError where weights are missing."""

    def __init__(self, params: ScoreParams, device: torch.device = HOST) -> None:
        self._params = params
        self._device = device
        self._lpips = LPIPS().to(self._device)
        self._classifier = load_classifier(params.classifier, self._device)

    def score(
        self, images: Sequence[Image], cleans: Sequence[Image], masks: Sequence[Mask], feather: int
    ) -> list[Scores]:
        """Scores of each result against its clean twin; all images of one size, at least 32 pixels a side.

        `feather` is the width in pixels of the ring around the mask in which change is allowed.
        Raises DefectoryError where the lists or the sizes do not fit together.
        """
        _check_sizes(images, cleans, masks)
        scores = []
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            perceived = self._perceive(images[part], cleans[part])
            for place, (image, clean, mask) in enumerate(zip(images[part], cleans[part], masks[part], strict=True)):
                scores.append(self._score_one(image, clean, mask, feather, perceived, place))
        return scores

    @torch.inference_mode()
    def _perceive(self, images: Sequence[Image], cleans: Sequence[Image]) -> _Perceived:
        levels = self._batch(images)
        results, twins = levels.float() / 127.5 - 1, self._batch(cleans).float() / 127.5 - 1
        seen, expected = self._lpips.features(results), self._lpips.features(twins)
        return _Perceived(
            to_clean=lpips_distance(seen, expected).cpu().numpy(),
            maps=lpips_map(seen, expected, (results.shape[-2], results.shape[-1])).cpu().numpy(),
            logits=self._classifier(levels).half().cpu().numpy(),
            descriptors=descriptors_of(self._lpips, results).cpu().numpy(),
        )

    def _batch(self, images: Sequence[Image]) -> Tensor:
        """uint8 (BATCH, 3, height, width), the last image repeated to fill it."""
        filled = [*images, *[images[-1]] * (BATCH - len(images))]
        return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).contiguous().to(self._device)

    def _score_one(
        self, image: Image, clean: Image, mask: Mask, feather: int, perceived: _Perceived, place: int
    ) -> Scores:
        distance = distance_to(mask)
        reach = within(distance, feather)
        difference = change(image, clean)
        effective = without_holes(effective_mask(difference, reach, self._params.change_threshold), mask)
        logits = perceived.logits[place]
        confidence, entropy = confidence_and_entropy(logits[None])
        values = {
            "lpips_to_clean": float(perceived.to_clean[place]),
            "lpips_inside": mean_where(perceived.maps[place], mask),
            "change_inside": mean_where(difference, mask),
            "outside_max_abs": max_where(difference, ~reach),
            "outside_mean_abs": mean_where(difference, ~reach),
            "seam_contrast": seam_contrast(image, clean, distance, feather),
            "class_confidence": float(confidence[0]),
            "class_entropy": float(entropy[0]),
            "intended_area": float(mask.mean()),
            "effective_area": float(effective.mean()),
            "effective_share": mean_where(effective, mask),
        }
        return Scores(values, effective, logits, perceived.descriptors[place])


def _check_sizes(images: Sequence[Image], cleans: Sequence[Image], masks: Sequence[Mask]) -> None:
    if not len(images) == len(cleans) == len(masks):
        raise DefectoryError(
            f"to score: {len(images)} images, {len(cleans)} clean twins, {len(masks)} masks; give one of each"
        )
    expected = (*images[0].shape[:2], 3) if images else ()
    for place, (image, clean, mask) in enumerate(zip(images, cleans, masks, strict=True)):
        if not image.shape == clean.shape == (*mask.shape, 3) == expected:
            raise DefectoryError(
                f"to score, sample {place} of the batch: image {image.shape}, clean twin {clean.shape}, "
                f"mask {mask.shape}; expected {expected}, {expected} and {expected[:2]}"
            )
