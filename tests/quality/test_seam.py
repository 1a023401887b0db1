"""Seam contrast: stickers show, blends, texture and unchanged images do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tasks.contracts import Image
from tasks.quality.change import distance_to, within
from tasks.quality.seam import seam_contrast
from tests.quality.pastes import blend, disc, photograph, plain, sticker

FEATHER = 6
MASK = disc()


def seam(image: Image, clean: Image, feather: int = FEATHER) -> float:
    return seam_contrast(image, clean, distance_to(MASK), feather)


@pytest.mark.parametrize("make_clean", [plain, photograph])
def test_an_unchanged_image_has_one(make_clean: Callable[[], Image]) -> None:
    assert seam(make_clean(), make_clean()) == 1.0


@pytest.mark.parametrize("level", [20, 90, 255])
def test_a_sticker_on_a_smooth_product_shows_and_its_blend_does_not(level: int) -> None:
    clean = plain()
    assert seam(sticker(clean, MASK, level), clean) > 3.0
    assert seam(blend(clean, MASK, level, FEATHER), clean) < 1.5


def test_a_sticker_on_texture_shows_more_than_its_blend() -> None:
    clean = photograph()
    hard, soft = seam(sticker(clean, MASK, 0), clean), seam(blend(clean, MASK, 0, FEATHER), clean)
    assert hard > 1.5 * soft
    assert soft < 1.5


def test_a_hard_edge_at_the_end_of_the_ring_shows_too() -> None:
    clean = plain()
    widened = sticker(clean, within(distance_to(MASK), FEATHER), 60)
    assert seam(widened, clean) > 3.0
    assert seam(widened, clean, feather=0) < 1.5


def test_a_hard_edge_shows_without_any_feather() -> None:
    clean = plain()
    assert seam(sticker(clean, MASK, 60), clean, feather=0) > 3.0


def test_a_defect_rough_inside_is_no_seam() -> None:
    clean = plain()
    levels = np.random.default_rng(5).integers(20, 130, (256, 256, 1)).astype(np.uint8)
    rough = np.where(MASK[..., None], levels, clean)
    assert seam(rough, clean) < 0.5 * seam(sticker(clean, MASK, 75), clean)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_the_sharp_edge_of_a_crack_is_no_seam_unless_it_lies_in_a_patch(width: int) -> None:
    clean, crack = plain(), np.zeros((256, 256), dtype=bool)
    crack[100 : 100 + width, 30:220] = True
    distance = distance_to(crack)
    assert seam_contrast(sticker(clean, crack, 40), clean, distance, FEATHER) < 1.5
    patch = within(distance, FEATHER)
    assert seam_contrast(sticker(clean, patch, 40), clean, distance, FEATHER) > 3.0


@pytest.mark.parametrize("mask", [np.zeros((256, 256), bool), np.ones((256, 256), bool)])
def test_a_mask_without_a_border_has_one(mask: np.ndarray) -> None:
    clean = photograph()
    assert seam_contrast(clean, clean, distance_to(mask), FEATHER) == 1.0
    assert seam_contrast(255 - clean, clean, distance_to(mask), FEATHER) <= 1.0
