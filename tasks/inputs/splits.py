"""One leak-safe split into train and test, by groups and never by images.

In: opened photographs. Out: a group and a split for each. A group is what may not be torn apart: the photographs
of one physical object and their near-duplicates. Why by hash order: adding photographs moves few of the others.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError
from tasks.inputs.duplicates import near_pairs
from tasks.inputs.opening import OpenedImage
from tasks.params import InputsParams

Groups = dict[str, list[OpenedImage]]
"""By group id, which is the first image id in it."""


def group_images(images: Sequence[OpenedImage], near_duplicate_distance: float) -> Groups:
    """Join photographs of one object, and near-duplicates of one category, into groups."""
    categories: dict[str, list[OpenedImage]] = defaultdict(list)
    for image in sorted(images, key=lambda image: image.image_id):
        categories[image.listed.category].append(image)
    groups: Groups = defaultdict(list)
    for members in categories.values():
        pairs = [
            *_same_object(members),
            *near_pairs(np.stack([m.descriptor for m in members]), near_duplicate_distance),
        ]
        for image, first in zip(members, _first_of_component(len(members), pairs), strict=True):
            groups[members[first].image_id].append(image)
    return dict(groups)


def split_groups(groups: Groups, params: InputsParams, seed: int) -> dict[str, str]:
    """The split of every group.

    Within a category and defect type, the first `floor(share x groups)` in hash order are trained on; at least one
    group of clean images. A group with an image that its source held out is tested on, and counts among the
    tested share. Raises DefectoryError for a category that is left without a clean training image.
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, members in groups.items():
        strata[members[0].listed.category, _defect_type(members)].append(group)
    splits = dict.fromkeys(groups, TEST)
    for (_, defect_type), names in strata.items():
        free = [name for name in names if not any(image.listed.held_out for image in groups[name])]
        for name in sorted(free, key=lambda name: _order(name, seed))[: _training(len(names), defect_type, params)]:
            splits[name] = TRAIN
    _require_training_clean(groups, splits)
    return splits


def _same_object(members: Sequence[OpenedImage]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [(position, first.setdefault(m.listed.physical_object, position)) for position, m in enumerate(members)]


def _first_of_component(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each of `count` nodes, the first node that edges connect it with."""
    rows, columns = zip(*pairs, strict=True)
    graph = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    _, first = np.unique(components, return_index=True)
    return [int(first[component]) for component in components]


def _defect_type(members: Sequence[OpenedImage]) -> str:
    """Of a group: its commonest defect type, clean where there is none."""
    types = Counter(image.listed.defect_type for image in members if not image.listed.is_clean)
    return min(types, key=lambda name: (-types[name], name), default=CLEAN)


def _order(group: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\x1f{group}".encode()).hexdigest()


def _training(groups: int, defect_type: str, params: InputsParams) -> int:
    # The small addend: 0.29 x 100 is 28.999999999999996 in floating point.
    if defect_type == CLEAN:
        return max(1, math.floor(params.clean_train_share * groups + 1e-9))
    return math.floor(params.defect_train_share * groups + 1e-9)


def _require_training_clean(groups: Groups, splits: dict[str, str]) -> None:
    images = [(image.listed, splits[group]) for group, members in groups.items() for image in members]
    trained = {listed.category for listed, split in images if listed.is_clean and split == TRAIN}
    for category in sorted({listed.category for listed, _ in images} - trained):
        raise DefectoryError(
            f"category {category!r} has no clean image to train on: all of them were held out by their source or "
            "joined with tested images; give it more clean images or lower inputs.near_duplicate_distance"
        )
