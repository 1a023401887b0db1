"""Station 1: the sources of the params become the inputs that every later station reads.

In: params and the folder that relative roots start from. Out: `<category>.parquet`, `splits.json` and `report.json`.
A file that cannot be used is listed with its reason and costs nobody else anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tasks.contracts import TEST, TRAIN, Image, InputImage, Mask, SkippedInput
from tasks.files.folders import begin, swap_in
from tasks.files.json_text import write_json
from tasks.files.pictures import decode_image
from tasks.inputs.checks import check_inputs
from tasks.inputs.dataset import INPUTS_REPORT, PackedImage, pack_image, write_category, write_splits
from tasks.inputs.foreground import find_foreground, learn_foreground
from tasks.inputs.listing import source_name
from tasks.inputs.opening import OpenedImage, open_listings
from tasks.inputs.readers import list_source
from tasks.inputs.splits import group_images, split_groups
from tasks.params import Params
from tasks.progress import Progress

_LEARNED_FROM = 32
"""Clean images a category's foreground is learned from, evenly spaced."""

SplitCounts = dict[str, dict[str, dict[str, int]]]
FindForeground = Callable[[Image], Mask]


@dataclass(frozen=True)
class InputsReport:
    """What came of the sources."""

    skipped: tuple[SkippedInput, ...]
    warnings: tuple[str, ...]
    counts: SplitCounts
    """By category and defect type: `images`, `groups`, `masks`, `train` and `test`."""
    sha256: str
    """Of the split manifest."""


@dataclass(frozen=True)
class _Placed:
    """An opened image with its group and split."""

    opened: OpenedImage
    group: str
    split: str


def build_inputs(params: Params, root: Path, out: Path, progress: Progress | None = None) -> InputsReport:
    """Read all sources, split them, and write the inputs to `out`; the same files give the same bytes.

    Relative roots of sources start from `root`. `progress` is told (done, of). Raises DefectoryError for a source
    that is not there, whose rules cannot be followed, or that has no usable clean image.
    """
    tell = progress or (lambda done, total: None)
    listings = [list_source(source, root) for source in params.inputs.sources]
    # Every image is worked on twice: opened, then written with its foreground.
    total = 2 * sum(len(listing.images) for listing in listings)
    opened = open_listings(listings, params, lambda done: tell(done, total))
    placed = _place(opened.images, params)
    splits = {each.opened.image_id: each.split for each in placed}
    warnings = [line for listing in listings for line in listing.warnings] + check_inputs(opened.images, splits)
    building = begin(out)
    sha256 = _write(placed, params, building, lambda done: tell(total - len(placed) + done, total))
    report = InputsReport(opened.skipped, tuple(warnings), _counts(placed), sha256)
    write_json(building / INPUTS_REPORT, asdict(report))
    swap_in(building, out)
    return report


def _place(images: Sequence[OpenedImage], params: Params) -> list[_Placed]:
    groups = group_images(images, params.inputs.near_duplicate_distance)
    splits = split_groups(groups, params.inputs, params.dataset.seed)
    return [_Placed(image, group, splits[group]) for group, members in groups.items() for image in members]


def _write(placed: Sequence[_Placed], params: Params, folder: Path, tell: Callable[[int], None]) -> str:
    categories: dict[str, list[_Placed]] = defaultdict(list)
    for each in sorted(placed, key=lambda each: each.opened.image_id):
        categories[each.opened.listed.category].append(each)
    entries: dict[str, dict[str, str]] = {}
    for category, members in sorted(categories.items()):
        entries |= write_category(folder, category, _packed(members, params, len(entries), tell))
    return write_splits(folder, entries)


def _packed(
    members: Sequence[_Placed], params: Params, before: int, tell: Callable[[int], None]
) -> Iterator[PackedImage]:
    """The images of one category, each with its foreground; `before` are done already."""
    find = _learn(members, params)
    with ThreadPoolExecutor() as pool:
        for number, packed in enumerate(pool.map(lambda each: _pack(each, find), members), start=before + 1):
            yield packed
            tell(number)


def _learn(members: Sequence[_Placed], params: Params) -> FindForeground:
    clean = [each.opened for each in members if each.opened.listed.is_clean and each.split == TRAIN]
    kind = clean[0].source.foreground
    images = [decode_image(each.image) for each in clean[:: -(-len(clean) // _LEARNED_FROM)]]
    if kind != "learned":
        return partial(find_foreground, model=learn_foreground(images, kind))
    # Imported here, for torch takes seconds and most sources do without it.
    from tasks.inputs.foreground_learned import find_by_cells, learn_cells
    from tasks.networks.arithmetic import fix_arithmetic

    fix_arithmetic(params)
    return partial(find_by_cells, model=learn_cells(images))


def _pack(placed: _Placed, find: FindForeground) -> PackedImage:
    opened, listed = placed.opened, placed.opened.listed
    image = decode_image(opened.image)
    foreground = find(image)
    finished = InputImage(
        image_id=listed.image_id,
        category=listed.category,
        defect_type=listed.defect_type,
        split=placed.split,
        group=placed.group,
        image=image,
        mask=opened.mask,
        # A crack from the rim shows background where the object should be: a defect is part of its object.
        foreground=foreground if opened.mask is None else foreground | opened.mask,
        sha256=opened.sha256,
        path=listed.path,
        source=source_name(opened.source),
        license=opened.source.license,
    )
    return pack_image(finished, opened.image)


def _counts(placed: Sequence[_Placed]) -> SplitCounts:
    labels: dict[tuple[str, str], list[_Placed]] = defaultdict(list)
    for each in placed:
        labels[each.opened.listed.label].append(each)
    counts: SplitCounts = defaultdict(dict)
    for (category, defect_type), members in sorted(labels.items()):
        counts[category][defect_type] = {
            "images": len(members),
            "groups": len({each.group for each in members}),
            "masks": sum(each.opened.mask is not None for each in members),
            TRAIN: sum(each.split == TRAIN for each in members),
            TEST: sum(each.split == TEST for each in members),
        }
    return dict(counts)
