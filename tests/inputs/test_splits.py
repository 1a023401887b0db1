"""No group is torn apart, shares are met by groups, and sets held out stay out."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError
from tasks.inputs.opening import OpenedImage
from tasks.inputs.splits import Groups, group_images, split_groups
from tasks.params import InputsParams, SourceParams
from tests.inputs.helpers import opened, photograph


def params(clean: float = 0.8, defect: float = 0.34) -> InputsParams:
    source = SourceParams(kind="elpv")
    return InputsParams(sources=[source], clean_train_share=clean, defect_train_share=defect)


def some(count: int, defect_type: str = CLEAN, first: int = 0, held_out: bool = False) -> list[OpenedImage]:
    names = [f"{defect_type}-{first + number:03d}" for number in range(count)]
    return [
        opened(name, photograph(1000 * len(defect_type) + first + number), defect_type, held_out=held_out)
        for number, name in enumerate(names)
    ]


def trained(groups: Groups, splits: dict[str, str], defect_type: str = CLEAN) -> list[str]:
    return [
        image.image_id
        for group, members in groups.items()
        for image in members
        if splits[group] == TRAIN and image.listed.defect_type == defect_type
    ]


def test_objects_and_near_duplicates_make_one_group_across_labels() -> None:
    first, second, third, other = (photograph(seed) for seed in range(4))
    images = [
        opened("a", first, physical_object="one"),
        opened("b", second, physical_object="one"),
        opened("c", np.ascontiguousarray(second[:, ::-1]), "crack"),
        opened("d", third, "crack"),
        *some(6, first=50),
        opened("e", other),
    ]
    groups = group_images(images, near_duplicate_distance=0.03)
    assert sorted(image.listed.name for image in groups["disc/clean/a"]) == ["a", "b", "c"]
    assert len(groups) == 9
    assert sum(map(len, groups.values())) == len(images)


def test_the_same_picture_in_two_categories_stays_two_groups() -> None:
    image = photograph(1)
    images = [opened("a", image, category="disc"), opened("a", image, category="plate")]
    assert len(group_images(images, 0.03)) == 2


def test_groups_do_not_depend_on_the_order_of_images() -> None:
    images = [*some(8), opened("again", photograph(5003)), *some(5, "crack")]
    assert group_images(images[::-1], 0.03) == group_images(images, 0.03)


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.34, 3), (100, 0.29, 29), (2, 0.34, 0), (5, 1.0, 5)])
def test_defects_are_trained_on_by_the_floor_of_their_share(count: int, share: float, expected: int) -> None:
    groups = group_images([*some(5), *some(count, "crack")], 0.0)
    splits = split_groups(groups, params(defect=share), seed=1)
    assert len(trained(groups, splits, "crack")) == expected
    assert len(trained(groups, splits)) == 4


def test_each_defect_type_meets_its_share_by_itself() -> None:
    groups = group_images([*some(5), *some(20, "crack"), *some(10, "blowhole")], 0.0)
    splits = split_groups(groups, params(defect=0.5), seed=1)
    assert len(trained(groups, splits, "crack")) == 10
    assert len(trained(groups, splits, "blowhole")) == 5


def test_what_a_source_held_out_is_tested_on_and_takes_its_near_duplicates_along() -> None:
    held_out = some(3, first=100, held_out=True)
    twin = opened("twin", photograph(5000 + 100))
    groups = group_images([*some(6), *held_out, twin], 0.03)
    splits = split_groups(groups, params(clean=1.0), seed=1)
    assert sorted(trained(groups, splits)) == [f"disc/clean/clean-{number:03d}" for number in range(6)]


def test_held_out_images_count_among_the_tested_share() -> None:
    groups = group_images([*some(8), *some(2, first=100, held_out=True)], 0.0)
    assert len(trained(groups, split_groups(groups, params(clean=0.8), seed=1))) == 8


def test_a_new_image_moves_hardly_any_other() -> None:
    images = some(40)
    before, after = (group_images(images[:count], 0.0) for count in (39, 40))
    old, new = (split_groups(groups, params(clean=0.5), seed=1) for groups in (before, after))
    assert sum(old[group] != new[group] for group in old) <= 1


def test_the_seed_changes_the_split_and_nothing_else_does() -> None:
    groups = group_images(some(30), 0.0)
    splits = [split_groups(groups, params(clean=0.5), seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


def test_one_clean_object_is_trained_on() -> None:
    groups = group_images(some(1), 0.03)
    assert split_groups(groups, params(clean=0.5), seed=1) == {"disc/clean/clean-000": TRAIN}


def test_a_category_without_clean_training_images_is_fatal() -> None:
    groups = group_images([*some(2, held_out=True), *some(3, "crack")], 0.0)
    with pytest.raises(DefectoryError, match=r"category 'disc' has no clean image to train on"):
        split_groups(groups, params(), seed=1)
    assert TEST == "test"
