"""Pseudo-masks against planted defects."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator

from tasks.contracts import Image, Mask
from tasks.masks.pseudo import CleanEnvelopes, normalised_grey, pseudo_masks

SIZE = 96
WHOLE = np.ones((SIZE, SIZE), bool)


def plate(generator: Generator) -> Image:
    """A plate with bars; exposure and place vary a little from photograph to photograph."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shift = generator.integers(-1, 2)
    grey = 150 + 15 * np.sin((columns + shift) / 5) - 60 * ((rows + shift) % 32 < 3)
    grey = (grey + generator.normal(0, 3, (SIZE, SIZE))) * generator.uniform(0.6, 1.2)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def cleans() -> list[tuple[Image, Mask]]:
    return [(plate(np.random.default_rng(n)), WHOLE) for n in range(30)]


def planted(factor: float) -> tuple[Image, Mask]:
    image, truth = plate(np.random.default_rng(99)), np.zeros((SIZE, SIZE), bool)
    truth[40:56, 20:50] = True
    changed = np.where(truth[..., None], (image * factor).clip(0, 255), image).astype(np.uint8)
    return changed, truth


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def test_a_planted_defect_is_found_where_it_is(cleans: list[tuple[Image, Mask]]) -> None:
    image, truth = planted(0.4)
    ((anomaly, found),) = pseudo_masks([(image, WHOLE)], cleans, 0.99, "both", 0.001)
    assert overlap(found, truth) > 0.7
    assert anomaly[truth].mean() > 10 * anomaly[~truth].mean()


def test_a_thin_crack_is_found(cleans: list[tuple[Image, Mask]]) -> None:
    image, truth = plate(np.random.default_rng(98)), np.zeros((SIZE, SIZE), bool)
    along = np.arange(10, 80)
    for width in (0, 1):
        truth[along, along + width] = True
    cracked = np.where(truth[..., None], image // 2, image).astype(np.uint8)
    ((_, found),) = pseudo_masks([(cracked, WHOLE)], cleans, 0.99, "dark", 0.001)
    assert (found & truth).sum() > 0.6 * truth.sum()
    assert found.sum() < 6 * truth.sum()


def test_a_clean_image_is_left_almost_empty(cleans: list[tuple[Image, Mask]]) -> None:
    fresh = [(plate(np.random.default_rng(n)), WHOLE) for n in range(100, 104)]
    for _, found in pseudo_masks(fresh, cleans, 0.99, "both", 0.001):
        assert found.mean() < 0.02


def test_polarity_and_foreground_bound_what_counts(cleans: list[tuple[Image, Mask]]) -> None:
    bright, truth = planted(1.5)
    ((_, as_dark),) = pseudo_masks([(bright, WHOLE)], cleans, 0.99, "dark", 0.001)
    assert overlap(as_dark, truth) < 0.1
    dark, truth = planted(0.4)
    half = WHOLE.copy()
    half[:, :35] = False
    ((_, found),) = pseudo_masks([(dark, half)], cleans, 0.99, "dark", 0.001)
    assert not found[:, :34].any()
    assert found.any()


@pytest.mark.parametrize("count", [3, 6])
def test_of_few_clean_images_each_is_held_against_the_others_alone(
    cleans: list[tuple[Image, Mask]], count: int
) -> None:
    """Held against itself nothing would be strange, and the threshold would fall to its least."""
    few = cleans[:count]
    planes = [normalised_grey(*clean) for clean in few]
    envelopes = CleanEnvelopes(planes, "both")
    assert envelopes.anomaly(planes[0]).max() < 0.05
    assert envelopes.anomaly(planes[0], leave_out=0).max() > 0.3
    alone = CleanEnvelopes(planes[1:], "both")
    assert np.array_equal(envelopes.anomaly(planes[0], leave_out=0), alone.anomaly(planes[0]))
    image, truth = planted(0.4)
    ((_, found),) = pseudo_masks([(image, WHOLE)], few, 0.99, "both", 0.001)
    assert overlap(found, truth) > 0.5


def test_one_clean_image_is_enough_to_find_what_is_plain(cleans: list[tuple[Image, Mask]]) -> None:
    image, truth = planted(0.2)
    ((_, found),) = pseudo_masks([(image, WHOLE)], cleans[:1], 0.99, "dark", 0.001)
    assert (found & truth).sum() > 0.8 * truth.sum()
