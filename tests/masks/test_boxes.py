"""CutPaste's boxes: rectangles of the paper's sizes, turned, and placed inside the foreground."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import Mask
from tasks.masks.boxes import PATCH_AREA, SCAR_LENGTH, SCAR_WIDTH, box_mask, turned_box
from tasks.masks.draw import draw_mask
from tasks.params import MasksParams
from tests.masks.helpers import SIZE, disc, image, ring, spec


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.7])
def test_a_turned_box_keeps_its_area_and_its_sides(angle: float) -> None:
    mask = turned_box(60.0, 25.0, angle)
    assert mask.sum() == pytest.approx(60 * 25, rel=0.05)
    points = np.argwhere(mask)[:, ::-1] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.ptp(points, axis=0) == pytest.approx([60, 25], abs=2)


def test_shapes_are_patches_and_scars_of_the_papers_sizes() -> None:
    areas = np.array([box_mask(256, np.random.default_rng(seed), 0.0001, 1.0).sum() for seed in range(200)])
    scars = areas < PATCH_AREA[0] * 256**2 * 0.9
    assert 0.3 < scars.mean() < 0.5
    assert areas[scars].max() <= SCAR_WIDTH[1] * SCAR_LENGTH[1] * 1.2
    assert areas[~scars].max() <= PATCH_AREA[1] * 256**2 * 1.05
    assert areas[~scars].max() > 0.12 * 256**2


@pytest.mark.parametrize("foreground", [disc(), ring()], ids=["disc", "ring"])
def test_every_box_is_inside_the_foreground_and_fixed_by_its_seed(foreground: Mask) -> None:
    params, clean = MasksParams(), image("cell/clean/0", foreground=foreground)
    first = [draw_mask(spec("boxes", seed), clean, (), params) for seed in range(25)]
    again = [draw_mask(spec("boxes", seed), clean, (), params) for seed in range(25)]
    for drawn in first:
        assert drawn.source == "boxes"
        assert not (drawn.mask & ~foreground).any()
        assert params.min_area <= drawn.mask.mean() <= params.max_area
    assert [drawn.mask.tobytes() for drawn in first] == [drawn.mask.tobytes() for drawn in again]
    assert len({drawn.mask.tobytes() for drawn in first}) == 25


def test_limits_that_exclude_the_papers_sizes_win() -> None:
    for seed in range(10):
        drawn = draw_mask(spec("boxes", seed), image("cell/clean/0"), (), MasksParams(min_area=0.01, max_area=0.013))
        assert 0.01 <= drawn.mask.mean() <= 0.013
        assert drawn.mask.shape == (SIZE, SIZE)
