"""The patch discriminator's losses, its adaptive weight and its augmentation."""

from __future__ import annotations

import torch

from tasks.diffusion.discriminator import (
    LARGEST_WEIGHT,
    PatchDiscriminator,
    adaptive_weight,
    augment,
    discriminator_loss,
    ramp,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_hinge_loss_asks_for_a_margin_and_no_more() -> None:
    far = torch.full((4,), 3.0)
    assert discriminator_loss(far, -far) == 0
    assert discriminator_loss(torch.zeros(4), torch.zeros(4)) == 1
    assert discriminator_loss(-far, far) == 4


def test_the_adaptive_weight_brings_both_gradients_to_one_length() -> None:
    first, second = torch.randn(3, 3, generator=seeded()), 7 * torch.randn(3, 3, generator=seeded(1))
    weight = adaptive_weight(first, second)
    assert torch.isclose((weight * second).norm(), first.norm(), rtol=1e-4)


def test_the_adaptive_weight_is_finite_and_clamped() -> None:
    large = torch.full((3, 3), 1e6)
    assert adaptive_weight(large, torch.zeros(3, 3)) == LARGEST_WEIGHT
    assert adaptive_weight(torch.zeros(3, 3), large) == 0
    assert adaptive_weight(torch.zeros(3, 3), torch.zeros(3, 3)) == 0


def test_the_verdict_is_ramped_up() -> None:
    shares = [ramp(step, 100, 0.4, 0.2) for step in range(101)]
    assert shares[:41] == [0.0] * 41
    assert abs(shares[50] - 0.5) < 1e-9
    assert shares[61:] == [1.0] * 40
    assert shares == sorted(shares)


def test_augmentation_is_differentiable_seeded_and_of_each_image_its_own() -> None:
    images = torch.rand(2, 3, 32, 32, generator=seeded()).repeat_interleave(2, dim=0).requires_grad_()
    made = augment(images, seeded(5))
    assert torch.equal(made, augment(images, seeded(5)))
    assert not torch.equal(made[0], made[1])
    (gradient,) = torch.autograd.grad(made.square().sum(), images)
    assert (gradient.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_there_is_a_verdict_for_each_patch() -> None:
    assert PatchDiscriminator(8)(torch.randn(2, 3, 128, 128)).shape == (2, 1, 14, 14)
