"""Training composites: a real defect pasted elsewhere, under the motion that masks are drawn with."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import CLEAN, TRAIN, InputImage, Mask
from tasks.params import MasksParams
from tasks.training.composites import TrainingImage, composite

SIZE = 128


def bar() -> Mask:
    """A bar along the columns, so that its direction shows every turn."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[60:66, 40:80] = True
    return mask


def defect() -> TrainingImage:
    image = np.full((SIZE, SIZE, 3), 120, np.uint8)
    image[bar()] = 30
    return TrainingImage(image, bar(), np.ones((SIZE, SIZE), bool), "plate", "scratch")


def clean() -> InputImage:
    image = np.full((SIZE, SIZE, 3), 150, np.uint8)
    whole = np.ones((SIZE, SIZE), bool)
    return InputImage("plate/1", "plate", CLEAN, TRAIN, "1", image, None, whole, "sha", "1.png", "made", "CC0-1.0")


def direction_of(mask: Mask) -> float:
    """Degrees between the mask's long axis and the columns, from 0 to 90."""
    points = np.argwhere(mask) - np.argwhere(mask).mean(axis=0)
    along = np.linalg.eigh(points.T @ points)[1][:, -1]
    return float(np.degrees(np.arctan2(abs(along[0]), abs(along[1]))))


@pytest.mark.parametrize("placement", ["learned", "anywhere", "in_place"])
def test_a_pasted_defect_turns_and_grows_no_further_than_masks_do(placement: str) -> None:
    params = MasksParams(rotation=8, scale=(0.9, 1.1), placement=placement)
    generator = np.random.default_rng(0)
    made = [one for _ in range(60) if (one := composite(defect(), clean(), 1, params, generator)) is not None]
    assert len(made) > 50
    turns = [direction_of(one.mask) for one in made]
    assert max(turns) < 9
    assert max(turns) > 5, "and as far as they may"
    areas = [one.mask.sum() / bar().sum() for one in made]
    assert 0.75 < min(areas) < 0.95
    assert 1.05 < max(areas) < 1.35


def test_what_is_pasted_lies_in_the_mask() -> None:
    made = composite(defect(), clean(), 1, MasksParams(), np.random.default_rng(1))
    assert made is not None
    assert made.image[made.mask].mean() < 60
    assert np.array_equal(made.image[::SIZE, ::SIZE], clean().image[::SIZE, ::SIZE])
    assert (made.image != clean().image).any(axis=2).sum() < 2.5 * made.mask.sum()
