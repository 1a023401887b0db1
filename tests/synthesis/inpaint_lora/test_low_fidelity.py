"""Low-fidelity selection: what is measured, and that nothing below the median is ever kept."""

from __future__ import annotations

import pytest
import torch

from tasks.diffusion.pool import Pool
from tasks.synthesis.inpaint_lora.low_fidelity import Looks, distances_inside, least_faithful, look_of


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_kept_candidate_is_never_below_the_median(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    distances, strangeness = torch.rand(2, count, 200, generator=generator)
    kept = least_faithful(distances, strangeness)
    assert kept.shape == (200,)
    assert (distances[kept, torch.arange(200)] >= distances.median(dim=0).values).all()


def test_of_those_unlike_the_clean_image_the_least_strange_is_kept() -> None:
    distances = torch.tensor([[0.1], [0.5], [0.6], [0.7]])
    strangeness = torch.tensor([[0.5], [0.1], [1.2], [3.0]])
    assert least_faithful(distances, strangeness).tolist() == [2]
    assert least_faithful(distances, 4 - strangeness).tolist() == [3]


def test_a_mended_candidate_has_no_distance() -> None:
    clean = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.2
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 20:44] = 1
    scratched = torch.where(mask == 1, -0.8, clean)
    beside = torch.where(mask == 1, clean, torch.full_like(clean, 0.9))
    mended, outside, inside = (distances_inside(image, clean, mask).item() for image in (clean, beside, scratched))
    assert mended == 0
    assert inside > outside


def test_a_burnt_out_defect_is_stranger_than_those_of_its_own_type() -> None:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(40, 4, 8, 8, generator=generator)
    trimaps = torch.ones(40, 1, 64, 64, dtype=torch.uint8)
    trimaps[..., 16:40, 16:40] = 2
    labels = torch.arange(40) % 2
    latents[labels == 1, :, 2:5, 2:5] += 2
    looks = Looks.of_pool(Pool(latents.half(), trimaps, labels), 3)
    masks, of_type = (trimaps == 2).float(), torch.ones(40, dtype=torch.long)
    real = looks.strangeness(latents, masks, of_type)[labels == 1]
    burnt = looks.strangeness(4 * latents, masks, of_type)[labels == 1]
    other = looks.strangeness(latents, masks, of_type)[labels == 0]
    assert real.median() == pytest.approx(1, abs=0.3)
    assert burnt.min() > real.max()
    assert other.min() > real.max()
    again = Looks.from_state(looks.state())
    assert torch.equal(again.strangeness(latents, masks, labels), looks.strangeness(latents, masks, labels))
    assert looks.strangeness(latents, masks, of_type + 1).isfinite().all()


def test_a_look_is_that_of_the_mask_alone() -> None:
    latents, masks = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.zeros(2, 1, 64, 64)
    masks[0, :, 24:32, 24:32] = 1
    changed = latents.clone()
    changed[..., 0, 0] = 99
    assert torch.equal(look_of(latents, masks), look_of(changed, masks))
    assert not look_of(latents, masks)[1].any()
