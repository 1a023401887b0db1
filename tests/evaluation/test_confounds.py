"""Planted differences that have nothing to do with defects are named; those of chance and of defects are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.contracts import CLEAN
from tasks.detectors.protocol import Arm, Example, TestSet
from tasks.evaluation.confounds import find_confounds, statistics_of


def some(count: int, seed: int, light: float = 1.0, noise: float = 4.0, defect: bool = False) -> tuple[Example, ...]:
    """Grey plates under a light that differs a little from one to the next; defects are black holes with a mask."""
    generator = np.random.default_rng(seed)
    return tuple(_plate(generator, f"{seed}-{number}", light, noise, defect) for number in range(count))


def _plate(generator: np.random.Generator, name: str, light: float, noise: float, defect: bool) -> Example:
    levels = generator.normal(120, 10) * light + generator.normal(0, noise, (32, 32, 3))
    mask = None
    if defect:
        mask = np.zeros((32, 32), bool)
        mask[10:18, 10:18] = True
        levels[mask] = 0
    return Example(name, np.clip(levels, 0, 255).astype(np.uint8), "hole" if defect else CLEAN, mask)


def arm(normals: tuple[Example, ...], defects: tuple[Example, ...] = (), name: str = "synthetic") -> Arm:
    return Arm(name, "ours", normals, defects)


def test_images_alike_are_no_confound_and_defects_themselves_are_none() -> None:
    found = find_confounds([arm(some(40, 1), some(30, 2, defect=True))], TestSet(some(30, 3)))
    assert found == []
    assert not any(each.refuses for each in found)


def test_darker_training_images_refuse_a_winner() -> None:
    found = find_confounds([arm(some(40, 1, light=0.5))], TestSet(some(30, 3)))
    assert {each.statistic for each in found if each.refuses} >= {"mean red", "mean green", "mean blue"}
    assert any(each.refuses for each in found)
    assert found[0].sentence.startswith(
        "train normals and test normals can be told apart by mean red alone: AUROC 1.00"
    )


def test_test_defects_are_not_taken_for_test_normals() -> None:
    test = TestSet((*some(30, 3), *some(30, 4, light=0.3, defect=True)))
    assert find_confounds([arm(some(40, 1))], test) == []


@pytest.mark.parametrize(("noise", "statistic"), [(0.5, "noise"), (0.5, "sharpness")])
def test_an_arm_whose_images_are_smoother_is_named_but_refuses_nothing(noise: float, statistic: str) -> None:
    arms = [
        arm(some(40, 1), some(30, 2, defect=True)),
        arm(some(40, 1), some(30, 5, noise=noise, defect=True), "smooth"),
    ]
    found = find_confounds(arms, TestSet(some(30, 3)))
    assert statistic in {each.statistic for each in found}
    assert {each.second for each in found} == {"defective images of arm 'smooth'"}
    assert not any(each.refuses for each in found)


def test_masks_on_the_dark_part_of_an_object_are_no_difference_outside_them() -> None:
    def part(example: Example) -> Example:
        image = example.image.copy()
        image[8:24, 8:24] //= 3
        return replace(example, image=image)

    normals = tuple(map(part, some(40, 1)))
    painted = tuple(replace(part(defect), defect_type="hole") for defect in some(30, 2, defect=True))
    assert find_confounds([arm(normals, painted)], TestSet(tuple(map(part, some(30, 3))))) == []


def test_small_samples_raise_no_alarm() -> None:
    assert find_confounds([arm(some(40, 1, light=0.5))], TestSet(some(2, 3))) == []
    assert find_confounds([arm(some(40, 1))], TestSet(())) == []
    assert find_confounds([], TestSet(some(5, 3))) == []


def test_noise_is_measured_as_it_was_made_and_not_in_the_mask() -> None:
    plate = some(1, 7, noise=9.0)[0]
    measured = statistics_of(plate)
    # The mean of three channels has a standard deviation smaller by the root of three.
    assert measured["noise"] == pytest.approx(9.0 / np.sqrt(3), rel=0.1)
    mask = np.zeros((32, 32), bool)
    mask[10:18, 10:18] = True
    image = plate.image.copy()
    image[mask] = 255
    spoilt = statistics_of(replace(plate, image=image, mask=mask))
    assert spoilt["contrast"] == pytest.approx(measured["contrast"], rel=0.05)
    assert spoilt["noise"] == pytest.approx(measured["noise"], rel=0.1)
