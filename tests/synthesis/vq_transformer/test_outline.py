"""Outlines: masks at one size, and which of them are no masks."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import Mask
from tasks.masks.place import crop
from tasks.synthesis.vq_transformer.outline import augmented, outline_of, place_outline

SIDE, SIZE = 64, 256


def ellipse(rows: float, columns: float, size: int = SIZE) -> Mask:
    row, column = np.mgrid[:size, :size] - size / 2
    return (row / rows) ** 2 + (column / columns) ** 2 < 1


def aligned(mask: Mask) -> Mask:
    """The shape in the corner of an image: where it lies is not what counts here."""
    shape = crop(mask)
    return np.pad(shape, [(0, SIZE - length) for length in shape.shape])


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (20, 9), (60, 40), (4, 90)])
def test_an_outline_put_back_at_its_size_is_the_mask(rows: float, columns: float) -> None:
    mask = ellipse(rows, columns)
    outline = outline_of(mask, SIDE, SIZE)
    back = place_outline(outline.mask, outline.span, SIZE)
    assert back is not None
    assert overlap(aligned(back), aligned(mask)) > 0.8
    assert back.sum() == pytest.approx(mask.sum(), rel=0.15)


def test_outlines_of_one_shape_differ_in_span_and_area_bin_alone() -> None:
    small, large = (outline_of(ellipse(12 * zoom, 8 * zoom), SIDE, SIZE) for zoom in (1, 4))
    assert overlap(small.mask, large.mask) > 0.9
    assert large.span == pytest.approx(4 * small.span, rel=0.1)
    assert small.area_bin - large.area_bin == 4


def test_empty_and_border_hugging_outlines_are_refused() -> None:
    empty = np.zeros((SIDE, SIDE), bool)
    assert place_outline(empty, 0.5, SIZE) is None
    for edge in (np.s_[0, 20:40], np.s_[-1, 20:40], np.s_[20:40, 0], np.s_[20:40, -1]):
        hugging = ellipse(10, 10, SIDE)
        hugging[edge] = True
        assert place_outline(hugging, 0.5, SIZE) is None
    assert place_outline(ellipse(10, 10, SIDE), 0.5, SIZE) is not None
    assert place_outline(ellipse(10, 28, SIDE), 1.3, SIZE) is None  # longer than the image


def test_specks_are_taken_for_noise_and_second_pieces_are_not() -> None:
    outline = ellipse(8, 20, SIDE)
    outline[5:12, 20:40] = True
    outline[50, 50] = True
    placed = place_outline(outline, SIDE / SIZE, SIZE)
    assert placed is not None
    assert placed.sum() == outline.sum() - 1


def test_augmentation_makes_few_masks_many_and_keeps_them_whole() -> None:
    generator = np.random.default_rng(0)
    made = [augmented(ellipse(30, 12), SIDE, generator) for _ in range(12)]
    assert len({outline.mask.tobytes() for outline in made}) == 12
    for outline in made:
        assert place_outline(outline.mask, outline.span, SIZE) is not None
        assert 0.05 < outline.mask.mean() < 0.6
