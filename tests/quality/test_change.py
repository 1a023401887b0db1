"""Effective masks and changes on pastes whose change is planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tasks.contracts import Mask
from tasks.quality.change import change, distance_to, effective_mask, max_where, mean_where, within, without_holes
from tests.quality.pastes import blend, disc, photograph, plain, sticker

EVERYWHERE = np.ones((256, 256), dtype=bool)


def test_change_counts_both_signs_and_does_not_wrap_around() -> None:
    dark, light = np.full((8, 8, 3), 2, np.uint8), np.full((8, 8, 3), 250, np.uint8)
    assert (change(dark, light) == 248).all()
    assert (change(light, dark) == 248).all()


def test_a_defect_smaller_than_its_mask_gives_the_smaller_effective_mask() -> None:
    clean, painted, intended = photograph(), disc(radius=12), disc(radius=24)
    result = clean.copy()
    result[painted] ^= 64
    effective = effective_mask(change(result, clean), intended, threshold=8)
    assert (effective & ~painted).sum() == 0
    assert effective.sum() > 0.95 * painted.sum()


def test_change_beyond_the_reach_is_never_effective() -> None:
    clean = plain()
    reach = within(distance_to(disc(radius=10)), 6)
    effective = effective_mask(change(sticker(clean, disc(radius=40), 30), clean), reach, threshold=8)
    assert np.array_equal(effective, reach)


def test_change_at_the_threshold_does_not_count_and_one_channel_suffices() -> None:
    clean = np.full((32, 32, 3), 100, np.uint8)
    result = clean.copy()
    result[4:12, 4:12] += 8
    result[20:28, 20:28, 1] += 9
    effective = effective_mask(change(result, clean), np.ones((32, 32), bool), threshold=8)
    assert not effective[4:12, 4:12].any()
    assert effective[21:27, 21:27].all()


@pytest.mark.parametrize("line", [np.s_[100, 50:150], np.s_[50:150, 100]])
def test_lone_pixels_go_and_lines_of_one_pixel_stay(line: tuple) -> None:
    clean = plain()
    speckled, cracked = clean.copy(), clean.copy()
    speckled[10:250:7, 10:250:7] = 0
    cracked[line] = 0
    assert not effective_mask(change(speckled, clean), EVERYWHERE, threshold=8).any()
    assert effective_mask(change(cracked, clean), EVERYWHERE, threshold=8).sum() >= 98


def test_a_textured_paste_leaves_no_holes_in_its_mask_and_adds_nothing_beyond() -> None:
    generator, mask = np.random.default_rng(0), disc(radius=40)
    speckled = mask & (generator.uniform(size=mask.shape) < 0.7)
    assert ndimage.label(mask & ~speckled)[1] > 100
    closed = without_holes(speckled, mask)
    assert closed[mask].mean() > 0.98
    assert not (closed & ~mask).any()


def test_a_defect_smaller_than_its_mask_stays_as_small() -> None:
    painted = disc(radius=12)
    assert np.array_equal(without_holes(painted, disc(radius=24)), painted)


def test_a_ring_around_a_mask_does_not_fill_it_and_one_inside_of_it_does() -> None:
    mask = disc(radius=30)
    around, inside = disc(radius=34) & ~mask, disc(radius=24) & ~disc(radius=20)
    assert without_holes(inside, mask).sum() == disc(radius=24).sum()
    assert np.array_equal(without_holes(around, mask) & ~mask, around)


def test_distance_is_euclidean_and_infinite_for_an_empty_mask() -> None:
    mask: Mask = np.zeros((9, 9), dtype=bool)
    assert np.isinf(distance_to(mask)).all()
    mask[0, 0] = True
    distance = distance_to(mask)
    assert distance[0, 0] == 0
    assert distance[3, 4] == 5


@pytest.mark.parametrize("feather", [0, 1, 6, 13])
def test_the_ring_is_exactly_where_a_paste_may_change_the_clean_image(feather: int) -> None:
    clean, mask = np.zeros((256, 256, 3), np.uint8), disc()
    changed = blend(clean, mask, 255, feather).any(axis=2)
    ring = within(distance_to(mask), feather)
    assert not changed[~ring].any()
    assert changed[ring].mean() > 0.97
    assert ring[128, 152 + feather]


def test_means_and_maxima_of_nothing_are_zero() -> None:
    nowhere = np.zeros((256, 256), dtype=bool)
    assert mean_where(photograph(), nowhere) == 0
    assert max_where(photograph(), nowhere) == 0
