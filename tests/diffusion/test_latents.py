"""Outside of the mask and its ring nothing may change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tasks.diffusion.latents import cells_of, mask_tensor, to_images
from tasks.training.closeup import feather_weights, paste


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - 30, columns - 35) < 9


@pytest.mark.parametrize("feather", [0, 1, 6])
def test_paste_keeps_the_clean_pixels_bit_for_bit(disc: np.ndarray, feather: int) -> None:
    generator = np.random.default_rng(0)
    clean, result = (generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2))
    pasted = paste(result, clean, disc, feather)
    ring = ndimage.distance_transform_edt(~disc) <= feather
    assert np.array_equal(pasted[~ring], clean[~ring])
    assert np.array_equal(pasted[disc], result[disc])


def test_feather_falls_with_the_distance(disc: np.ndarray) -> None:
    weight = feather_weights(disc, 6)
    distance = ndimage.distance_transform_edt(~disc)
    order = np.argsort(distance, axis=None)
    assert (np.diff(weight.ravel()[order]) <= 1e-6).all()
    assert (weight[disc] == 1).all()
    assert (weight[distance > 6] == 0).all()


def test_cells_cover_every_mask_pixel(disc: np.ndarray) -> None:
    masks = mask_tensor([disc, np.zeros_like(disc)])
    for reach in (0, 1, 2):
        cells = cells_of(masks, reach)
        covered = cells.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        assert (covered >= masks).all()
        assert cells[1].sum() == 0
    assert cells_of(masks, 1).sum() > cells_of(masks, 0).sum()


def test_images_survive_the_way_to_tensors_and_back() -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert np.array_equal(to_images(tensor)[0], image)
