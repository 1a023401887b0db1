"""Station 1: the sources of the params become the inputs that every later station reads.

In: params and the folder that relative roots start from. Out: `<category>.parquet`, `splits.json` and `report.json`.
A file that cannot be used is listed with its reason and costs nobody else anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.contracts import CLEAN, TEST, TRAIN, InputImage, SkippedInput
from tasks.inputs.checks import check_inputs
from tasks.inputs.foreground import ForegroundModel, find_foreground, learn_foreground
from tasks.inputs.listing import source_name
from tasks.inputs.opening import OpenedImage, open_listings
from tasks.inputs.png import decode_image_png
from tasks.inputs.readers import list_source
from tasks.inputs.splits import group_images, split_groups
from tasks.inputs.store import REPORT, SPLITS, write_category, write_json, write_splits
from tasks.params import Params

_LEARNED_FROM = 32
"""Clean images a category's foreground is learned from, evenly spaced."""

Counts = dict[str, dict[str, dict[str, int]]]


@dataclass(frozen=True)
class InputsReport:
    """What came of the sources."""

    skipped: tuple[SkippedInput, ...]
    warnings: tuple[str, ...]
    counts: Counts
    """By category and defect type: `images`, `groups`, `masks`, `train` and `test`."""
    sha256: str
    """Of the split manifest."""


@dataclass(frozen=True)
class _Placed:
    """An opened image with its group and split."""

    opened: OpenedImage
    group: str
    split: str


def build_inputs(
    params: Params, root: Path, out: Path, progress: Callable[[int, int], None] | None = None
) -> InputsReport:
    """Read all sources, split them, and write the inputs to `out`; the same files give the same bytes.

    Relative roots of sources start from `root`. `progress` is told (done, of). Raises DefectoryError for a source
    that is not there, whose rules cannot be followed, or that has no usable clean image.
    """
    tell = progress or (lambda done, total: None)
    listings = [list_source(source, root) for source in params.inputs.sources]
    # Every image is worked on twice: opened, then written with its foreground.
    opened = open_listings(listings, params, lambda done, total: tell(done, 2 * total))
    placed = _place(opened.images, params)
    splits = {each.opened.image_id: each.split for each in placed}
    warnings = [line for listing in listings for line in listing.warnings] + check_inputs(opened.images, splits)
    read = sum(len(listing.images) for listing in listings)
    sha256 = _write(placed, out, lambda done: tell(2 * read - len(placed) + done, 2 * read))
    report = InputsReport(opened.skipped, tuple(warnings), _counts(placed), sha256)
    return report


def _place(images: Sequence[OpenedImage], params: Params) -> list[_Placed]:
    groups = group_images(images, params.inputs.near_duplicate_distance)
    splits = split_groups(groups, params.inputs, params.dataset.seed)
    return [_Placed(image, group, splits[group]) for group, members in groups.items() for image in members]
