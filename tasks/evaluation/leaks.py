"""Leaks: test images that the training has seen, whole, turned, in part or under another exposure.

In: the inputs of a dataset and, where there are some, the synthetic images made from them. Out: every leak by name,
or one DefectoryError. Why again, after the split was made by groups: a split can be written by hand, groups are only
as good as their rules, and a crop shares neither file nor outline with its whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import binary_dilation

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, Image, InputImage
from tasks.detectors.protocol import Example
from tasks.evaluation.pieces import shared_pieces
from tasks.files.hashing import sha256
from tasks.inputs.dataset import Inputs
from tasks.inputs.duplicates import descriptor_of, near_between
from tasks.inputs.normalise import fit_image
from tasks.progress import Report, silent
from tasks.wording import first_few

Kind = Literal["copy", "turned copy", "other exposure", "crop", "same part", "sister part"]

_SAID: dict[Kind, str] = {
    "copy": "is the same file or has the same pixels as",
    "turned copy": "is a turned or mirrored copy of (descriptor distance {value:.3f})",
    "other exposure": "shows the same part under another exposure or encoding as (descriptor distance {value:.3f})",
    "crop": "shares a piece of picture ({value:.0f} features in one place) with",
    "same part": "is in one group, so of one physical part, with",
    "sister part": "has {value:.0f} features in the same places as, so may show the same part as or its neighbour,",
}
_FEATHERS = 16
"""A mask's surroundings are taken out to this part of the side, in which a paste is blended."""
_EQUAL = 0.99
"""Share of equal pixels from which two images are one outside a mask."""
_NAMED = 20
"""Leaks that an error lists."""


@dataclass(frozen=True)
class Leak:
    """A test image that training has seen."""

    test_id: str
    train_id: str
    """Of a clean twin, a reference or a synthetic image."""
    kind: Kind
    value: float
    """Descriptor distance of a turned copy or other exposure, matched features of a crop or sister part, else 0."""

    @property
    def refuses(self) -> bool:
        """A sister part does not: two wafers of one block share their grain, and not their defects."""
        return self.kind != "sister part"

    @property
    def sentence(self) -> str:
        return f"test image {self.test_id} {_SAID[self.kind].format(value=self.value)} {self.train_id} of the training"


@dataclass(frozen=True)
class _Seen:
    """What training sees: a photograph or a synthetic image."""

    image_id: str
    image: Image
    sha256: str = ""
    group: str = ""
    defective: bool = False


def refuse_leaks(
    inputs: Inputs,
    near_duplicate_distance: float,
    synthetic: Sequence[Example] = (),
    report: Report = silent,
) -> tuple[Leak, ...]:
    """Raise DefectoryError naming the images and the kind of every leak; else what is merely suspected.

    The one call of an evaluation. Images are near from the descriptor distance by which `inputs` has joined them into
    groups, `inputs.near_duplicate_distance`. It looks at a few images a second.
    """
    found = find_leaks(inputs, near_duplicate_distance, synthetic, report)
    check_leaks([leak for leak in found if leak.refuses])
    return tuple(found)


def check_leaks(leaks: Sequence[Leak]) -> None:
    """Raise DefectoryError where there is any."""
    if not leaks:
        return
    lines = first_few([leak.sentence for leak in leaks], _NAMED)
    raise DefectoryError(
        "the training has seen images of the test split, so no score on them means anything:\n"
        + "\n".join(f"  - {line}" for line in lines)
        + "\ntake these images out of the sources, or join them by the source's group_rule, and run "
        "the line from its inputs on"
    )


def find_leaks(
    inputs: Inputs,
    near_duplicate_distance: float,
    synthetic: Sequence[Example] = (),
    report: Report = silent,
) -> list[Leak]:
    """Every leak into the test split, one for each pair of images: the first kind of `Kind` that holds.

    Files and pixels are compared across categories, all else within one. A synthetic image is made of train images,
    which are looked at themselves; of its own pixels only those outside its mask could be a test image's.
    """
    painted = [_Seen(example.example_id, example.image) for example in synthetic]
    trained = [
        _Seen(i.image_id, i.image, i.sha256, i.group, i.defect_type != CLEAN) for i in inputs.images if i.split == TRAIN
    ]
    tested = [image for image in inputs.images if image.split == TEST]
    found = [*_copies(tested, [*trained, *painted]), *_painted_over(tested, synthetic)]
    for category in inputs.categories:
        members = {image.image_id for image in inputs.images if image.category == category}
        seen = [each for each in trained if each.image_id in members]
        ours = [image for image in tested if image.category == category]
        if ours and seen:
            pictures = [*(image.image for image in ours), *(each.image for each in seen)]
            mean = np.stack([descriptor_of(picture) for picture in pictures]).mean(axis=0)
            found += _near(ours, seen, mean, near_duplicate_distance)
            found += _crops(ours, seen, report)
            found += _same_parts(ours, seen)
    return list({(leak.test_id, leak.train_id): leak for leak in reversed(found)}.values())[::-1]


def _copies(tested: Sequence[InputImage], seen: Sequence[_Seen]) -> Iterator[Leak]:
    by_file, by_pixels = defaultdict(list), defaultdict(list)
    for other in seen:
        by_file[other.sha256].append(other.image_id)
        by_pixels[_pixels(other.image)].append(other.image_id)
    for image in tested:
        for train_id in dict.fromkeys(by_file[image.sha256] + by_pixels[_pixels(image.image)]):
            yield Leak(image.image_id, train_id, "copy", 0.0)


def _pixels(image: Image) -> str:
    return sha256(str(image.shape).encode() + image.tobytes())


def _painted_over(tested: Sequence[InputImage], synthetic: Sequence[Example]) -> Iterator[Leak]:
    """A synthetic image equals its clean twin outside its mask: none may equal a test image there."""
    for size in sorted({len(example.image) for example in synthetic}):
        pictures = np.stack([fit_image(image.image, size, "squash") for image in tested])
        for example in (each for each in synthetic if len(each.image) == size and each.mask is not None):
            outside = ~binary_dilation(example.mask, iterations=size // _FEATHERS)
            same = (pictures[:, outside] == example.image[outside]).all(axis=2).mean(axis=1) if outside.any() else ()
            for image, share in zip(tested, same, strict=False):
                if share > _EQUAL:
                    yield Leak(image.image_id, example.example_id, "copy", 0.0)


def _near(tested: Sequence[InputImage], seen: Sequence[_Seen], mean: np.ndarray, distance: float) -> Iterator[Leak]:
    ones = np.stack([descriptor_of(image.image) for image in tested])
    others = np.stack([descriptor_of(each.image) for each in seen])
    nearest: dict[tuple[int, int], tuple[float, int]] = {}
    for row, column, orientation, value in near_between(ones, others, mean, distance):
        nearest[row, column] = min((value, orientation), nearest.get((row, column), (value, orientation)))
    for (row, column), (value, orientation) in sorted(nearest.items()):
        kind: Kind = "turned copy" if orientation else "other exposure"
        yield Leak(tested[row].image_id, seen[column].image_id, kind, value)


def _crops(tested: Sequence[InputImage], seen: Sequence[_Seen], report: Report) -> Iterator[Leak]:
    """Only where one of the two is defective: that two clean images share a piece gives no defect away."""
    defects = [each for each in seen if each.defective]
    for ones, others in (
        ([image for image in tested if image.defect_type != CLEAN], seen),
        ([image for image in tested if image.defect_type == CLEAN], defects),
    ):
        for piece in shared_pieces([image.image for image in ones], [each.image for each in others], report):
            kind: Kind = "sister part" if piece.in_pose else "crop"
            yield Leak(ones[piece.tested].image_id, others[piece.trained].image_id, kind, float(piece.votes))


def _same_parts(tested: Sequence[InputImage], seen: Sequence[_Seen]) -> Iterator[Leak]:
    for image in tested:
        for other in seen:
            if image.group == other.group:
                yield Leak(image.image_id, other.image_id, "same part", 0.0)
