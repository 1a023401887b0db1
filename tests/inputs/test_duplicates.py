"""Near-duplicates are found however turned or exposed, and products that merely look alike stay apart."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from tasks.contracts import Image
from tasks.inputs.duplicates import descriptor_of, near_pairs
from tests.inputs.helpers import photograph

DISTANCE = 0.03


def pairs_of(images: list[Image]) -> set[frozenset[int]]:
    descriptors = np.stack([descriptor_of(image) for image in images])
    return {frozenset(pair) for pair in near_pairs(descriptors, DISTANCE)}


def as_jpeg(image: Image, quality: int = 60) -> Image:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(buffer))


ALIKE = [photograph(seed) for seed in range(12)]


def test_products_that_look_alike_are_no_duplicates() -> None:
    # Without subtracting what all share they would be: the discs correlate by more than 0.97.
    raw = np.stack([descriptor_of(image) for image in ALIKE])
    assert (raw @ raw.T / 256).min() > 0.8
    assert pairs_of(ALIKE) == set()


@pytest.mark.parametrize(
    "again",
    [
        lambda image: image,
        as_jpeg,
        lambda image: (image * 0.5).astype(np.uint8),
        lambda image: np.clip(image * 0.7 + 40, 0, 255).astype(np.uint8),
        lambda image: image[:, ::-1],
        lambda image: image[::-1],
        lambda image: np.rot90(image),
        lambda image: np.rot90(image[:, ::-1], 3),
    ],
    ids=["copy", "jpeg", "darker", "flatter", "mirrored", "flipped", "turned", "turned and mirrored"],
)
def test_the_same_object_is_found_again(again: object) -> None:
    assert callable(again)
    assert pairs_of([*ALIKE, np.ascontiguousarray(again(ALIKE[5]))]) == {frozenset({5, 12})}


def test_a_category_of_two_copies_is_one_object() -> None:
    assert pairs_of([ALIKE[0], as_jpeg(ALIKE[0], quality=90)]) == {frozenset({0, 1})}
    assert pairs_of([ALIKE[0], ALIKE[1]]) == set()


def test_blocks_do_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [*ALIKE, ALIKE[3], ALIKE[8][::-1]]
    whole = pairs_of(images)
    monkeypatch.setattr("tasks.inputs.duplicates._BLOCK", 5)
    assert pairs_of(images) == whole == {frozenset({3, 12}), frozenset({8, 13})}


def test_an_image_of_one_grey_level_is_no_trouble() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert not descriptor_of(flat).any()
    assert pairs_of([*ALIKE, flat, flat]) == {frozenset({12, 13})}
