"""Several photographs of one object become one object."""

from __future__ import annotations

from pathlib import Path

from tasks.inputs.listing import ListedImage
from tasks.inputs.objects import with_objects

RULE = r"exp(?P<exposure>\d+)_num_(?P<number>\d+)"


def listed(path: str, defect_type: str = "crack") -> ListedImage:
    return ListedImage(Path(path), path, "tile", defect_type, name=path)


def objects_of(paths: list[str], rule: str = RULE) -> list[list[str]]:
    """Paths by object, each in order of first appearance."""
    found: dict[str, list[str]] = {}
    for image in with_objects([listed(path) for path in paths], rule):
        found.setdefault(image.physical_object, []).append(image.path)
    return list(found.values())


def test_a_new_object_begins_where_the_exposure_does_not_rise() -> None:
    # In file order the exposures of a tile lie far apart; by number they follow one another.
    paths = ["c/exp1_num_10.jpg", "c/exp1_num_40.jpg", "c/exp2_num_20.jpg", "c/exp2_num_50.jpg", "c/exp4_num_30.jpg"]
    assert objects_of(paths) == [
        ["c/exp1_num_10.jpg", "c/exp2_num_20.jpg", "c/exp4_num_30.jpg"],
        ["c/exp1_num_40.jpg", "c/exp2_num_50.jpg"],
    ]


def test_an_equal_exposure_is_another_object() -> None:
    assert objects_of(["c/exp3_num_1.jpg", "c/exp3_num_2.jpg"]) == [["c/exp3_num_1.jpg"], ["c/exp3_num_2.jpg"]]


def test_numbers_are_numbers_and_not_text() -> None:
    assert objects_of(["c/exp1_num_100.jpg", "c/exp2_num_99.jpg"]) == [["c/exp1_num_100.jpg"], ["c/exp2_num_99.jpg"]]


def test_folders_are_apart() -> None:
    assert len(objects_of(["a/exp1_num_1.jpg", "b/exp2_num_2.jpg"])) == 2


def test_a_rule_without_exposure_groups_by_number() -> None:
    paths = ["p/7_left.jpg", "p/7_right.jpg", "p/8_left.jpg", "p/notes.jpg"]
    assert objects_of(paths, r"(?P<number>\d+)_") == [paths[:2], ["p/8_left.jpg"], ["p/notes.jpg"]]


def test_without_a_rule_every_image_is_its_own_object() -> None:
    paths = ["c/exp1_num_1.jpg", "c/exp2_num_2.jpg"]
    assert objects_of(paths, "") == [["c/exp1_num_1.jpg"], ["c/exp2_num_2.jpg"]]
