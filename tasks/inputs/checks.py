"""Warnings about inputs that would make a later score a fluke.

In: opened photographs and their splits. Out: one line for each way to tell clean from defective, or train from
test, without looking at the product: a detector would find that way first. Nothing here is fatal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from tasks.contracts import CLEAN, TEST, TRAIN
from tasks.inputs.opening import OpenedImage

_SUSPICIOUS = 0.75
"""AUROC from which two sets count as told apart, if chance alone would not make it so."""
_DEVIATIONS = 3.0
"""Standard deviations from 0.5, of sets that do not differ, below which an AUROC is put down to chance."""

Label = tuple[str, str]
_MEASURES = {
    "brightness": ("mean grey", lambda image: image.mean_grey),
    "size": ("pixels of the source image", lambda image: float(image.pixels)),
}


def auroc(low: ArrayLike, high: ArrayLike) -> float:
    """Share of pairs in which the one of `high` is larger; ties count half. 0.5 where the two cannot be told apart."""
    values = [np.asarray(each, dtype=np.float64) for each in (low, high)]
    return float(roc_auc_score(np.repeat([0, 1], [len(each) for each in values]), np.concatenate(values)))


def told_apart(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The AUROC by which one tells the two apart, in [0.75, 1]; None where it is less or chance would make it so."""
    # Mann and Whitney (1947): the variance of U over (n m)^2.
    chance = math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
    area = auroc(first, second)
    apart = max(area, 1 - area)
    return apart if apart >= _SUSPICIOUS and apart - 0.5 >= _DEVIATIONS * chance else None


def check_inputs(images: Sequence[OpenedImage], splits: dict[str, str]) -> list[str]:
    """One line for each suspicion; `splits` is by image id."""
    labels: dict[Label, list[OpenedImage]] = defaultdict(list)
    for image in images:
        labels[image.listed.label].append(image)
    lines = [*_contradictions(images)]
    for (category, defect_type), members in sorted(labels.items()):
        if defect_type != CLEAN:
            clean = labels[category, CLEAN]
            lines += _told_apart(f"{category}: clean and {defect_type} images", clean, members)
        parts = [[image for image in members if splits[image.image_id] == split] for split in (TRAIN, TEST)]
        lines += _told_apart(f"{category}/{defect_type}: train and test images", *parts)
    return lines


def _told_apart(what: str, first: Sequence[OpenedImage], second: Sequence[OpenedImage]) -> Iterator[str]:
    if not first or not second:
        return
    for name, (measure, value_of) in _MEASURES.items():
        values = [[value_of(image) for image in side] for side in (first, second)]
        if (area := told_apart(*values)) is not None:
            medians = [np.median(side) for side in values]
            yield (
                f"{what} can be told apart by {name} alone: AUROC {area:.2f} of {measure}, "
                f"medians {medians[0]:.0f} and {medians[1]:.0f}"
            )


def _contradictions(images: Sequence[OpenedImage]) -> Iterator[str]:
    """The same file under two labels."""
    seen: dict[str, OpenedImage] = {}
    for image in images:
        first = seen.setdefault(image.sha256, image)
        if first.listed.label != image.listed.label:
            yield f"{first.image_id} and {image.image_id} are the same file under two labels"
