"""Low-fidelity selection: what is measured, and that nothing below the median is ever kept."""

from __future__ import annotations

import torch

from tasks.diffusion.low_fidelity import distances_inside, least_faithful


def test_the_kept_candidate_is_never_below_the_median() -> None:
    distances = torch.rand(8, 200, generator=torch.Generator().manual_seed(0))
    kept = least_faithful(distances)
    assert kept.shape == (200,)
    assert (distances[kept, torch.arange(200)] >= distances.median(dim=0).values).all()


def test_of_candidates_the_mended_one_is_left() -> None:
    clean = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.2
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 20:44] = 1
    scratched = torch.where(mask == 1, -0.8, clean)
    beside = torch.where(mask == 1, clean, torch.full_like(clean, 0.9))
    distances = torch.stack([distances_inside(image, clean, mask) for image in (clean, beside, scratched)])
    assert distances[0] == 0
    assert least_faithful(distances).tolist() == [2]
