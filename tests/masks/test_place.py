"""What is placed lies in the foreground, is the whole shape, and may lie anywhere it fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tasks.contracts import Mask
from tasks.masks.place import crop, cut_mask, place_mask
from tests.masks.helpers import SIZE, disc, ring

EIGHT = np.ones((3, 3))
FOREGROUNDS = {"disc": disc(), "ring": ring()}


def _shape() -> Mask:
    """No symmetry, so that a flip or a turn would show."""
    shape = np.zeros((20, 30), dtype=bool)
    shape[3:5, 4:16] = shape[3:11, 4:6] = True
    return shape


@pytest.mark.parametrize("name", FOREGROUNDS)
def test_a_thousand_draws_never_leave_the_foreground(name: str) -> None:
    foreground = FOREGROUNDS[name]
    placed_count = 0
    for seed in range(1000):
        placed = place_mask(_shape(), foreground, np.random.default_rng(seed), 50)
        if placed is None:
            continue
        placed_count += 1
        assert not (placed & ~foreground).any()
        assert np.array_equal(crop(placed), crop(_shape()))
    assert placed_count > 950


def test_every_possible_place_is_reached() -> None:
    foreground = np.zeros((10, 10), dtype=bool)
    foreground[2:6, 3:6] = True
    dot = np.ones((2, 2), dtype=bool)
    corners = {
        tuple(np.argwhere(placed)[0])
        for seed in range(200)
        if (placed := place_mask(dot, foreground, np.random.default_rng(seed), 1)) is not None
    }
    assert corners == {(row, column) for row in (2, 3, 4) for column in (3, 4)}


@pytest.mark.parametrize(
    ("mask", "foreground"),
    [
        (np.ones((70, 70), dtype=bool), ring()),
        (np.ones((SIZE, SIZE), dtype=bool), disc()),
        (np.zeros((4, 4), dtype=bool), disc()),
        (np.ones((4, 4), dtype=bool), np.zeros((SIZE, SIZE), dtype=bool)),
    ],
    ids=["over the hole", "too large", "empty mask", "no foreground"],
)
def test_what_cannot_be_placed_is_none(mask: Mask, foreground: Mask) -> None:
    assert place_mask(mask, foreground, np.random.default_rng(0), 50) is None


def test_a_hole_in_the_foreground_is_kept_free() -> None:
    foreground = np.ones((30, 30), dtype=bool)
    foreground[:, 15] = False
    for seed in range(100):
        placed = place_mask(np.ones((3, 8), dtype=bool), foreground, np.random.default_rng(seed), 50)
        assert placed is not None
        assert not placed[:, 15].any()


@pytest.mark.parametrize("name", FOREGROUNDS)
def test_a_cut_mask_is_one_piece_within_the_foreground(name: str) -> None:
    foreground = FOREGROUNDS[name]
    line = np.eye(110, dtype=bool)
    touching = 0
    for seed in range(300):
        placed = cut_mask(line, foreground, np.random.default_rng(seed))
        assert placed is not None
        assert not (placed & ~foreground).any()
        assert ndimage.label(placed, EIGHT)[1] == 1
        touching += bool((ndimage.binary_dilation(placed, EIGHT) & ~foreground).any())
    assert touching == 300
    assert cut_mask(np.zeros((3, 3), dtype=bool), foreground, np.random.default_rng(0)) is None
