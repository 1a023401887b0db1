"""The nouns of the line: what the stations hand to one another.

Every value here is frozen; arrays inside are never written to after construction. Images are
`uint8` arrays of shape (height, width, 3) in RGB, masks are `bool` arrays of shape (height, width)
with True where the defect (or the object, for a foreground) is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

CLEAN = "clean"
"""The defect type of an image without a defect."""

TRAIN, TEST = "train", "test"
"""Splits. A generator sees TRAIN only; TEST is touched by the evaluation alone."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class DefectoryError(ValueError):
    """An error whose text is the whole message a user needs: what, where, and the next step."""


def check_name(name: str, what: str) -> str:
    """Return `name` when it is safe as one path component, else raise DefectoryError.

    Names of datasets, categories and defect types become folders, so letters, digits, `_`, `.` and
    `-` are all they may hold, and they begin with a letter or a digit.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise DefectoryError(
        f"{what} {name!r} cannot be used as a folder name: give it 1 to 64 letters, digits, '_', '.' or '-', "
        "beginning with a letter or a digit"
    )


def check_below(path: str, what: str) -> str:
    """Return `path` when it is relative and stays below the folder that it starts from, else raise DefectoryError.

    For paths that come with a version, of which a stranger may have written every one. Links are not looked at.
    """
    parts = PurePosixPath(path).parts
    if parts and ".." not in parts and not path.startswith("/") and "\\" not in path and "\0" not in path:
        return path
    raise DefectoryError(
        f"{what}: the path {path!r} leads out of its folder; nothing is read or written there. Do not use this version"
    )


@dataclass(frozen=True)
class InputImage:
    """One source photograph, brought to the dataset's size and mode."""

    image_id: str
    """`<category>/<defect_type>/<stem>`, unique in the dataset."""
    category: str
    defect_type: str
    split: str
    group: str
    """Images of one physical object, or near-duplicates of one another, share a group and so a split."""
    image: Image
    mask: Mask | None
    """The real mask; None where the source gives an image label only, and for clean images."""
    foreground: Mask
    sha256: str
    """Of the source file's bytes."""
    path: str
    """Relative to the root of its source."""
    source: str
    license: str


@dataclass(frozen=True)
class SkippedInput:
    """A source file that could not be used, and why; it is listed in the ledger, never fatal."""

    path: str
    source: str
    reason: str


@dataclass(frozen=True)
class Lie:
    """How a defect lies on its object, in the coordinates of the object's bounding box."""

    row: float
    column: float
    """Of its middle, from 0 at the top and the left to 1."""
    direction: float | None
    """Of its long axis, in radians from the columns, modulo pi; None for a shape without one."""
    size: float
    """The root of its area over the root of the box's."""
    group: str = ""
    """Of the physical object: photographs of one defect are one observation."""


@dataclass(frozen=True)
class ReferenceMask:
    """A defect's shape to draw masks from: a real mask, or a pseudo-mask where labels are per image."""

    reference_id: str
    category: str
    defect_type: str
    mask: Mask
    pseudo: bool
    learned: bool = False
    """Whether a generator made it, and no photograph has this shape."""
    lie: Lie | None = None
    """On the object of its photograph, where that is known."""


@dataclass(frozen=True)
class SampleSpec:
    """Everything that fixes one sample before it is made. A pure function of params and inputs."""

    sample_id: str
    """`<category>-<index:06d>`."""
    dataset: str
    category: str
    defect_type: str
    index: int
    clean_id: str
    mask_source: str
    """A key of `masks.sources`."""
    strength: float
    """What the system makes of it is its own; a larger strength is a more visible defect."""
    seed: int
    system: str = ""
    """The synthesis system that paints it."""


@dataclass(frozen=True)
class DrawnMask:
    """A mask placed in a clean image's foreground, and where it came from."""

    mask: Mask
    source: str
    reference_id: str = ""
    motion: NDArray[np.float64] | None = None
    """For a real defect's mask the homogeneous (3, 3) matrix that brought its (column, row) points to this place."""


@dataclass(frozen=True)
class Place:
    """What a system is given to paint: a sample's spec, its clean image and its mask, all of one size."""

    spec: SampleSpec
    clean: InputImage
    drawn: DrawnMask

    @property
    def mask(self) -> Mask:
        return self.drawn.mask


@dataclass(frozen=True)
class Candidate:
    """A painted sample with all of its scores; selection happens at release."""

    spec: SampleSpec
    image: Image
    mask: Mask
    """The intended mask."""
    effective_mask: Mask
    """Measured from the change against the clean twin; a subset of the mask and its feather ring."""
    reference_id: str
    clean_sha256: str
    license: str
    source: str
    prompt: str
    model_sha256: str
    seconds: float
    scores: dict[str, float]
    logits: NDArray[np.float16]
    """(classes,) of the ImageNet network named in the params' score block."""
    descriptor: NDArray[np.float16]
    """(256,) whose squared Euclidean distances estimate LPIPS between samples."""


@dataclass(frozen=True)
class Failure:
    """A planned sample that could not be made, and why."""

    spec: SampleSpec
    station: str
    error: str


@dataclass(frozen=True)
class ShardPlan:
    """The unit of work, of resume and of a Prefect task."""

    category: str
    number: int
    specs: Sequence[SampleSpec]
    """Drawn when they are looked at: see `tasks.plan`."""
    fingerprint: str
    """Of everything that touches the shard's bytes: params, inputs, model and code version."""

    @property
    def name(self) -> str:
        return f"{self.category}/{self.number:05d}"


@dataclass(frozen=True)
class Verdict:
    """What the release decided about one planned sample."""

    sample_id: str
    status: str
    """`accepted`, `rejected` or `failed`."""
    rule: str = ""
    value: float = float("nan")
    error: str = ""
