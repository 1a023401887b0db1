"""Strokes have the width, the length, the forks and the straightness that they were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from tasks.contracts import Mask
from tasks.masks.strokes import CRACK, SCRATCH, STAR, STYLES, StrokeStyle, stroke_mask

EIGHT = np.ones((3, 3))


def _stroke(seed: int, branches: float = 0.35, style: StrokeStyle | None = None, size: int = 256) -> Mask:
    return stroke_mask(size, np.random.default_rng(seed), (1.5, 5.0), branches, style=style)


def _ends(mask: Mask) -> int:
    """Skeleton pixels with one neighbour."""
    skeleton = np.pad(skeletonize(mask), 1)
    return int((ndimage.convolve(skeleton.astype(int), EIGHT.astype(int)) == 2)[skeleton].sum())


@pytest.mark.parametrize("style", STYLES)
def test_a_stroke_is_one_thin_piece_cropped_to_itself(style: StrokeStyle) -> None:
    for seed in range(12):
        mask = _stroke(seed, style=style)
        assert ndimage.label(mask, EIGHT)[1] == 1
        assert all(mask.any(axis=axis)[[0, -1]].all() for axis in (0, 1))


def test_width_stays_within_its_limits() -> None:
    """Twice the largest distance to the background is the greatest width; a pixel is lost to the grid."""
    for seed in range(30):
        mask = np.pad(_stroke(seed, branches=0.0, style=SCRATCH), 2)
        thickest = 2 * ndimage.distance_transform_edt(mask).max()
        assert thickest <= 5.0 + 1.5
    thick = [np.pad(_stroke(seed, 0.0, SCRATCH), 2) for seed in range(30)]
    assert max(2 * ndimage.distance_transform_edt(mask).max() for mask in thick) > 4.0


def test_width_varies_and_tapers() -> None:
    mask = stroke_mask(256, np.random.default_rng(3), (5.0, 5.0), 0.0, style=SCRATCH)
    longwise = mask if mask.shape[0] >= mask.shape[1] else mask.T
    profile = longwise.sum(axis=1)
    middle = profile[len(profile) // 2 - 5 : len(profile) // 2 + 5].mean()
    assert profile[:2].mean() < 0.7 * middle
    assert profile[-2:].mean() < 0.7 * middle


def test_branch_probability_makes_ends() -> None:
    """Without forks a crack has two ends (a spur of the skeleton may add one); with all of them it has many."""
    without = [_ends(_stroke(seed, 0.0, CRACK)) for seed in range(20)]
    some = [_ends(_stroke(seed, 0.35, CRACK)) for seed in range(20)]
    every = [_ends(_stroke(seed, 1.0, CRACK)) for seed in range(20)]
    assert np.mean(without) < 4
    assert np.mean(without) < np.mean(some) < np.mean(every)
    assert np.mean(every) > 6


def test_scratches_are_straighter_than_cracks() -> None:
    def straightness(style: StrokeStyle) -> float:
        masks = [_stroke(seed, 0.0, style) for seed in range(30)]
        return float(np.mean([np.hypot(*mask.shape) / skeletonize(mask).sum() for mask in masks]))

    assert straightness(SCRATCH) > straightness(CRACK) + 0.05


def test_stars_have_arms() -> None:
    ends = [_ends(_stroke(seed, 0.0, STAR)) for seed in range(20)]
    assert min(ends) >= 2
    assert np.mean(ends) > 3


def test_reach_and_size_scale_the_length() -> None:
    def length(size: int, reach: float) -> float:
        drawn = [stroke_mask(size, np.random.default_rng(seed), (2, 3), 0.0, reach, CRACK) for seed in range(20)]
        return float(np.mean([max(mask.shape) for mask in drawn]))

    assert length(256, 0.5) == pytest.approx(length(256, 1.0) / 2, rel=0.15)
    assert length(512, 1.0) == pytest.approx(length(256, 1.0) * 2, rel=0.25)


def test_same_generator_same_stroke() -> None:
    assert np.array_equal(_stroke(7), _stroke(7))
    assert _stroke(7).shape != _stroke(8).shape
