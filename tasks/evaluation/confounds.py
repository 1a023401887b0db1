"""Do images differ in a way that has nothing to do with defects? Then a winner may have won by that.

In: the arms of an evaluation and its test set. Out: one finding for each statistic of what lies outside masks by
which one tells apart train normals from test normals, or an arm's defective images from its normals. The first kind
makes every figure one of the shift and not of the defects; the second is a shortcut that an arm's detector may take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
from scipy.ndimage import binary_dilation, convolve

from tasks.detectors.protocol import Arm, Example, TestSet
from tasks.inputs.checks import told_apart

_REFUSING = 0.9
"""AUROC between train and test normals from which no winner is called."""
_MARGIN = 3
"""Pixels around a mask that count as inside: what was blended there is part of the defect."""
_LAPLACIANS = np.outer([1, -2, 1], [1, -2, 1])
"""Immerkaer, Fast noise variance estimation (CVIU 1996), eq. 2: blind to flat, sloping and straight-edged surfaces."""

Statistics = dict[str, float]


@dataclass(frozen=True)
class Confound:
    """Two sets of images that one statistic tells apart."""

    first: str
    second: str
    statistic: str
    auroc: float
    """In [0.75, 1], whichever of the two is higher."""
    medians: tuple[float, float]
    shifted: bool
    """Whether the two are train and test normals, and not an arm's own images."""

    @property
    def refuses(self) -> bool:
        return self.shifted and self.auroc >= _REFUSING

    @property
    def sentence(self) -> str:
        end = "; no winner can be called: split the photographs anew" if self.refuses else ""
        return (
            f"{self.first} and {self.second} can be told apart by {self.statistic} alone: AUROC {self.auroc:.2f}, "
            f"medians {self.medians[0]:.3g} and {self.medians[1]:.3g}{end}"
        )


def find_confounds(arms: Sequence[Arm], test: TestSet) -> list[Confound]:
    """Shifts between the normals that all arms share and those of the test set, then each arm's shortcuts.

    Masks lie where the object is, so what is outside them is not the average picture: normals are measured under the
    masks of the images that they are compared with. Sets that are too small to say so are not told apart.
    """
    if not arms:
        return []
    normals = arms[0].normals
    tested = [statistics_of(example) for example in test.examples if not example.defective]
    trained = [statistics_of(example) for example in normals]
    found = list(_apart("train normals", trained, "test normals", tested, shifted=True))
    for arm in arms:
        painted = [example for example in arm.defects if _has_outside(example)]
        masked = [replace(example, mask=other.mask) for example, other in zip(normals, cycle(painted), strict=False)]
        own = [statistics_of(example) for example in painted]
        alike = [statistics_of(example) for example in masked]
        found += _apart("train normals", alike, f"defective images of arm {arm.name!r}", own, shifted=False)
    return found


def statistics_of(example: Example) -> Statistics:
    """Grey levels (of 255) outside the mask: the mean of each channel, contrast, sharpness and noise.

    Contrast is the standard deviation of grey, sharpness the root mean square of its gradient, and noise the
    standard deviation that Immerkaer's estimate gives. Needs a pixel outside the mask.
    """
    outside = _outside(example)
    grey = example.image.astype(np.float64).mean(axis=2)
    down, right = np.gradient(grey)
    noise = np.abs(convolve(grey, _LAPLACIANS))[outside].mean() * math.sqrt(math.pi / 2) / 6
    levels = example.image[outside].mean(axis=0)
    return {
        "mean red": float(levels[0]),
        "mean green": float(levels[1]),
        "mean blue": float(levels[2]),
        "contrast": float(grey[outside].std()),
        "sharpness": float(np.sqrt((down**2 + right**2)[outside].mean())),
        "noise": float(noise),
    }


def _outside(example: Example) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    # Without the frame's rim, where differences to neighbours are one-sided and so of another size.
    outside = np.zeros(example.image.shape[:2], dtype=bool)
    outside[1:-1, 1:-1] = True
    return outside if example.mask is None else outside & ~binary_dilation(example.mask, iterations=_MARGIN)


def _has_outside(example: Example) -> bool:
    return bool(_outside(example).any())


def _apart(
    first: str, ones: Sequence[Statistics], second: str, others: Sequence[Statistics], shifted: bool
) -> Iterator[Confound]:
    if not ones or not others:
        return
    for name in ones[0]:
        values = [[each[name] for each in side] for side in (ones, others)]
        if (area := told_apart(*values)) is not None:
            yield Confound(
                first, second, name, area, (float(np.median(values[0])), float(np.median(values[1]))), shifted
            )
