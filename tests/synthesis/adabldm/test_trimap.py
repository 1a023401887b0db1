"""The trimap has three values, and each pixel the one that it should."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import DefectoryError
from tasks.masks.draw import draw_mask
from tasks.params import MasksParams
from tasks.synthesis.adabldm.sampler import BACKGROUND, DEFECT, OBJECT, trimap
from tests.masks.helpers import disc, image, reference, ring, spec


def test_partition() -> None:
    mask, foreground = disc(20), disc(45)
    result = trimap(mask, foreground)
    assert result.dtype == np.float32
    assert np.array_equal(result == 1, mask)
    assert np.array_equal(result == 0.5, foreground & ~mask)
    assert np.array_equal(result == 0, ~foreground)


def test_of_a_thousand_drawn_masks_none_leaves_the_object() -> None:
    foreground = disc(20, 64)
    clean, crack = image("cell/clean/0", foreground=foreground), reference("cell/crack/0", disc(9, 64) ^ disc(6, 64))
    for seed in range(1000):
        drawn = draw_mask(spec("reference", seed), clean, [crack], MasksParams())
        assert not (drawn.mask & ~foreground).any()
        result = trimap(drawn.mask, foreground)
        assert [(result == value).sum() for value in (BACKGROUND, OBJECT, DEFECT)] == [
            (~foreground).sum(),
            foreground.sum() - drawn.mask.sum(),
            drawn.mask.sum(),
        ]


def test_a_defect_off_the_object_counts() -> None:
    result = trimap(disc(20), ring())
    assert np.array_equal(result == 1, disc(20))
    assert set(np.unique(result)) == {0.0, 0.5, 1.0}


def test_two_sizes_are_refused() -> None:
    with pytest.raises(DefectoryError, match="one size"):
        trimap(disc(5, 16), disc(5, 32))
