"""The object is found on dark and bright tables, at any exposure, and its dark parts stay inside."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import Image, Mask
from tasks.inputs.foreground import find_foreground, learn_foreground
from tests.inputs.helpers import photograph

SIZE = 128


def disc(row: float = 0.0, column: float = 0.0, radius: float = 0.35) -> Mask:
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 < radius**2)


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def cell(seed: int, exposure: float = 1.0) -> Image:
    """Like a solar cell: nearly the whole image, with dark busbars from edge to edge and dark grains."""
    generator = np.random.default_rng(seed)
    grey = 150 + 40 * np.kron(generator.normal(size=(16, 16)), np.ones((8, 8)))
    for row in (30, 64, 98):
        grey[row - 2 : row + 2] = 30
    grey[:3], grey[-3:], grey[:, :3], grey[:, -3:] = 10, 10, 10, 10
    return np.repeat(np.clip(grey * exposure, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("inverted", [False, True])
def test_an_object_on_a_table_is_found_at_any_exposure(inverted: bool) -> None:
    cleans = [photograph(seed, SIZE, brightness) for seed, brightness in enumerate((1.0, 0.5, 0.25, 0.8))]
    cleans = [255 - clean for clean in cleans] if inverted else cleans
    model = learn_foreground(cleans, "otsu")
    assert model.brighter is not inverted
    for clean in cleans:
        assert overlap(find_foreground(clean, model), disc()) > 0.95


def test_objects_that_lie_differently_have_no_common_outline() -> None:
    places = [(-0.12, -0.12), (0.12, 0.12), (-0.12, 0.12), (0.12, -0.12), (0.0, 0.0)]
    cleans = [np.where(disc(*place, 0.2)[..., None], 180, 40).astype(np.uint8).repeat(3, axis=2) for place in places]
    model = learn_foreground(cleans, "otsu")
    assert model.outline is None
    for place, clean in zip(places, cleans, strict=True):
        assert overlap(find_foreground(clean, model), disc(*place, 0.2)) > 0.95


def test_a_cell_keeps_its_busbars_and_its_dark_grains() -> None:
    cleans = [cell(seed, exposure) for seed, exposure in enumerate((1.0, 0.4, 0.7, 0.2, 0.9))]
    model = learn_foreground(cleans, "otsu")
    for clean in cleans:
        found = find_foreground(clean, model)
        assert found[5:-5, 5:-5].all()


def test_holes_are_filled_and_crumbs_are_dropped() -> None:
    clean = photograph(1, SIZE)
    model = learn_foreground([clean, photograph(2, SIZE)], "otsu")
    clean[55:75, 55:75] = 0
    clean[2:8, 100:106] = 255
    found = find_foreground(clean, model)
    assert found[55:75, 55:75].all()
    assert not found[:12, 90:].any()


def test_a_whole_image_or_one_without_contrast_is_all_foreground() -> None:
    assert find_foreground(photograph(1, SIZE), learn_foreground([photograph(1, SIZE)], "whole")).all()
    flat = np.full((SIZE, SIZE, 3), 80, np.uint8)
    assert find_foreground(flat, learn_foreground([flat, flat], "otsu")).all()
    assert find_foreground(flat, learn_foreground([photograph(1, SIZE)], "otsu")).all()
