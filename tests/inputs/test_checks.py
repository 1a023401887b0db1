"""Sets that brightness or size gives away are named; sets that differ by chance are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, TRAIN
from tasks.inputs.checks import auroc, check_inputs
from tasks.inputs.opening import OpenedImage
from tests.inputs.helpers import opened, photograph

PICTURE = photograph(0)


def some(
    count: int, defect_type: str = CLEAN, grey: float = 100.0, pixels: int = 4096, first: int = 0
) -> list[OpenedImage]:
    greys = np.random.default_rng(count + first).normal(grey, 10, size=count)
    return [
        replace(opened(f"{defect_type}{first + number}", PICTURE, defect_type), mean_grey=float(value), pixels=pixels)
        for number, value in enumerate(greys)
    ]


def lines_of(images: list[OpenedImage], tested: list[OpenedImage] | None = None) -> list[str]:
    names = {image.image_id for image in tested or []}
    return check_inputs(
        [*images, *(tested or [])],
        {i.image_id: TEST if i.image_id in names else TRAIN for i in images} | dict.fromkeys(names, TEST),
    )


def test_auroc_counts_ordered_pairs() -> None:
    assert auroc([1, 2], [3, 4]) == 1.0
    assert auroc([3, 4], [1, 2]) == 0.0
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([1, 3], [2, 3]) == pytest.approx(0.625)


def test_sets_alike_raise_no_suspicion() -> None:
    assert lines_of([*some(60), *some(40, "crack")], some(30, first=100)) == []


@pytest.mark.parametrize("grey", [70.0, 130.0])
def test_defects_of_another_brightness_are_named(grey: float) -> None:
    lines = lines_of([*some(60), *some(20, "crack", grey)])
    assert len(lines) == 1
    assert lines[0].startswith("disc: clean and crack images can be told apart by brightness alone: AUROC ")


def test_train_and_test_of_another_size_are_named() -> None:
    lines = lines_of(some(40), some(15, pixels=9000, first=100))
    assert lines == [
        "disc/clean: train and test images can be told apart by size alone: AUROC 1.00 of pixels of the source "
        "image, medians 4096 and 9000"
    ]


def test_a_difference_that_chance_explains_is_not_named() -> None:
    assert lines_of([*some(30), *some(2, "crack", grey=130.0)]) == []


def test_one_file_under_two_labels_is_named() -> None:
    clean, crack = some(1)[0], replace(some(1, "crack")[0], sha256=some(1)[0].sha256)
    assert lines_of([clean, crack]) == ["disc/clean/clean0 and disc/crack/crack0 are the same file under two labels"]
