"""The training loop: what the loss weighs, and that an interruption leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.diffusion.denoiser import build_embedded
from tasks.diffusion.schedule import training_schedule
from tasks.diffusion.training import Pool, Trainer, learning_rate_share, train, weighted_error
from tasks.params import DenoiserParams


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    trimaps = torch.ones(8, 1, 64, 64, dtype=torch.uint8)
    trimaps[:, :, 16:40, 16:40] = 2
    latents = torch.randn(8, 8, 1, 1, generator=generator).expand(8, 8, 8, 8).half()
    return Pool(latents, trimaps, torch.arange(8) % 4)


def new_trainer(params: DenoiserParams) -> Trainer:
    return Trainer(build_embedded(params, 8, 4, seed=1), training_schedule(), params, seed=7)


def weights_of(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.trained])


def test_a_killed_run_ends_where_an_undisturbed_one_does(
    tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path
) -> None:
    undisturbed = new_trainer(tiny_denoiser_params)
    train(undisturbed, pool, tmp_path / "a", "x")
    killed = new_trainer(tiny_denoiser_params)
    for _ in range(4):
        killed.advance(pool)
    killed.save(tmp_path / "b", "x")
    killed.advance(pool)  # lost with the process
    resumed = new_trainer(tiny_denoiser_params)
    resumed.resume_from(tmp_path / "b", "x")
    assert resumed.step == 4
    train(resumed, pool, tmp_path / "b", "x")
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))
    resumed.finish()
    undisturbed.finish()
    assert torch.equal(weights_of(resumed), weights_of(undisturbed))


def test_a_checkpoint_of_other_params_is_not_taken(
    tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path
) -> None:
    trainer = new_trainer(tiny_denoiser_params)
    trainer.advance(pool)
    trainer.save(tmp_path / "checkpoint", "made from these")
    other = new_trainer(tiny_denoiser_params)
    other.resume_from(tmp_path / "checkpoint", "made from those")
    assert other.step == 0


def test_training_learns(tiny_denoiser_params: DenoiserParams, pool: Pool, tmp_path: Path) -> None:
    trainer = new_trainer(tiny_denoiser_params.model_copy(update={"steps": 80, "learning_rate": 3e-3}))
    losses = train(trainer, pool, tmp_path / "checkpoint", "x")
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_loss_weighs_the_defect_alike_whatever_its_area() -> None:
    target = torch.zeros(1, 2, 8, 8)
    small, large = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    small[..., :1, :1], large[..., :6, :6] = 1, 1
    assert torch.isclose(weighted_error(torch.ones(1, 2, 8, 8), target, small, 10.0), torch.tensor(1.0))
    wrong_inside, wrong_outside = small.expand(1, 2, 8, 8), (1 - small).expand(1, 2, 8, 8)
    inside = weighted_error(wrong_inside, target, small, 10.0)
    outside = weighted_error(wrong_outside, target, small, 10.0)
    assert torch.isclose(inside / outside, torch.tensor(10.0 / 63))
    assert weighted_error(wrong_inside, target, small, 10.0) > weighted_error(wrong_inside, target, small, 1.0)


def test_learning_rate_warms_up_and_decays() -> None:
    shares = [learning_rate_share(step, 1000) for step in range(1000)]
    assert shares[0] < 0.05
    assert max(shares) == shares[50] == 1.0
    assert shares[-1] < 0.06
