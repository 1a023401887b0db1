"""A warped reference keeps its shape and its area's scale, no thin line breaks, and its motion says where all went."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tasks.contracts import DefectoryError
from tasks.masks.reference import turn_reference, warp_reference
from tests.masks.helpers import disc

EIGHT = np.ones((3, 3))


def test_no_change_asked_no_change_made() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:15, 8:30] = mask[15:25, 8:12] = True
    warped, motion = warp_reference(mask, np.random.default_rng(0), (1.0, 1.0), 0.0)
    assert np.array_equal(warped, mask[5:25, 8:30])
    assert np.allclose(motion, [[1, 0, -8], [0, 1, -5], [0, 0, 1]])


def test_the_motion_brings_the_points_of_the_mask_to_the_crop() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:40, 8:18] = mask[30:40, 18:44] = True
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows, np.ones_like(rows)])
    for seed in range(20):
        warped, motion = warp_reference(mask, np.random.default_rng(seed), (0.85, 1.15), 180.0)
        column, row, _ = np.rint(motion @ points).astype(int)
        inside = (row >= 0) & (row < warped.shape[0]) & (column >= 0) & (column < warped.shape[1])
        # The tips of turned corners cover too little of their pixels to be kept.
        assert inside.mean() > 0.99
        assert warped[row[inside], column[inside]].mean() > 0.97
        assert np.sqrt(np.linalg.det(motion[:2, :2])) == pytest.approx((warped.sum() / mask.sum()) ** 0.5, rel=0.03)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_area_follows_the_scale(factor: float) -> None:
    mask = disc(30)
    for seed in range(8):
        warped, _ = warp_reference(mask, np.random.default_rng(seed), (factor, factor), 180.0)
        assert warped.sum() == pytest.approx(mask.sum() * factor**2, rel=0.06)


def test_rotation_is_bounded_and_used() -> None:
    bar = np.zeros((64, 64), dtype=bool)
    bar[30:34, 4:60] = True
    slopes = [warp_reference(bar, np.random.default_rng(seed), (1.0, 1.0), 20.0)[0].shape for seed in range(40)]
    heights = np.array([height for height, _ in slopes])
    assert heights.max() <= 4 + 56 * np.sin(np.radians(20)) + 3
    assert heights.max() > 15
    assert heights.min() < 10
    upright = [warp_reference(bar, np.random.default_rng(seed), (1.0, 1.0), 180.0)[0].shape[0] for seed in range(40)]
    assert max(upright) > 50


def test_a_thin_line_stays_whole() -> None:
    line = np.zeros((80, 80), dtype=bool)
    line[40:42, 5:75] = True
    for seed in range(40):
        warped, _ = warp_reference(line, np.random.default_rng(seed), (0.85, 1.15), 180.0)
        assert ndimage.label(warped, EIGHT)[1] == 1
        assert max(warped.shape) > 35


def test_a_single_pixel_survives_and_nothing_is_refused() -> None:
    dot = np.zeros((9, 9), dtype=bool)
    dot[4, 4] = True
    assert all(warp_reference(dot, np.random.default_rng(seed), (0.5, 0.6), 180.0)[0].any() for seed in range(20))
    with pytest.raises(DefectoryError, match="no defect pixel"):
        warp_reference(np.zeros((9, 9), dtype=bool), np.random.default_rng(0), (1.0, 1.0), 0.0)


def test_in_place_a_mask_keeps_its_distance_from_the_middle_of_the_object() -> None:
    ring, rim = disc(50), np.zeros_like(disc(50))
    rim[64 - 3 : 64 + 4, 64 + 38 : 64 + 46] = True
    places = set()
    for seed in range(30):
        turned, motion = turn_reference(rim, ring, np.random.default_rng(seed), (1.0, 1.0), 180.0)
        rows, columns = np.nonzero(turned)
        distances = np.hypot(rows - 63.5, columns - 63.5)
        assert 36 < distances.min() < distances.max() < 48
        assert turned.sum() == pytest.approx(rim.sum(), rel=0.25)
        column, row, _ = motion @ [64 + 41.5, 64.0, 1.0]
        assert np.hypot(rows.mean() - row, columns.mean() - column) < 1
        places.add((row > 63.5, column > 63.5))
    assert len(places) == 4


def test_in_place_without_a_turn_is_where_it_was() -> None:
    mask = np.zeros((128, 128), dtype=bool)
    mask[20:30, 90:110] = True
    turned, motion = turn_reference(mask, disc(60), np.random.default_rng(0), (1.0, 1.0), 0.0)
    assert np.array_equal(turned, mask)
    assert np.allclose(motion, np.eye(3))
