"""The algebra of noising, targets and estimates."""

from __future__ import annotations

import pytest
import torch

from tasks.diffusion.schedule import (
    add_noise,
    predicted_clean,
    sampling_schedule,
    stratified_timesteps,
    training_schedule,
    training_target,
)
from tasks.params import PaintParams

PREDICTIONS = ["v_prediction", "epsilon"]


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_target_leads_back_to_the_clean_latents(prediction_type: str) -> None:
    schedule = training_schedule({**training_schedule().config, "prediction_type": prediction_type})
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(5, 2, 4, 4, generator=generator) for _ in range(2))
    timesteps = torch.tensor([0, 100, 500, 700, 900])
    noisy = add_noise(schedule, clean, noise, timesteps)
    target = training_target(schedule, clean, noise, timesteps)
    assert torch.allclose(predicted_clean(schedule, noisy, target, timesteps), clean, atol=1e-3)


def test_the_last_timestep_is_almost_pure_noise() -> None:
    schedule = training_schedule()
    clean, noise = torch.full((1, 1, 2, 2), 10.0), torch.randn(1, 1, 2, 2)
    assert torch.allclose(add_noise(schedule, clean, noise, torch.tensor([999])), noise, atol=0.02)


@pytest.mark.parametrize("scheduler", ["dpm-solver++", "ddim"])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_a_perfect_denoiser_is_followed_to_its_end(scheduler: str, prediction_type: str) -> None:
    """Sampling with predictions that always name the same clean latents must arrive at them."""
    schedule = training_schedule({**training_schedule().config, "prediction_type": prediction_type})
    sampler = sampling_schedule(schedule, PaintParams(scheduler=scheduler, steps=12))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    clean, latents = (torch.randn(1, 2, 4, 4, generator=generator) for _ in range(2))
    assert sampler.timesteps[0] == 999
    assert len(sampler.timesteps) == 12
    for timestep in sampler.timesteps:
        alpha_bar = schedule.alphas_cumprod[timestep]
        noise = (latents - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        prediction = training_target(schedule, clean, noise, timestep[None])
        latents = sampler.step(prediction, timestep, latents, return_dict=False)[0]
    assert torch.allclose(latents, clean, atol=5e-3)


def test_stratified_timesteps_cover_the_range() -> None:
    timesteps = stratified_timesteps(10, torch.Generator().manual_seed(0))
    assert sorted((timesteps // 100).tolist()) == list(range(10))
