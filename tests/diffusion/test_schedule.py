"""The algebra of noising, targets and estimates."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from tasks.diffusion.schedule import (
    added_noise,
    predicted_clean,
    sampling_schedule,
    signal_and_noise,
    stratified_timesteps,
    training_schedule,
    training_target,
)

PREDICTIONS = ["v_prediction", "epsilon"]
TIMESTEPS = torch.tensor([0, 100, 500, 700, 900])


def schedule_for(prediction_type: str) -> DDPMScheduler:
    return training_schedule({**training_schedule().config, "prediction_type": prediction_type})


def clean_and_noise(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    clean, noise = torch.randn(2, count, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    return clean, noise


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_target_leads_back_to_the_clean_latents(prediction_type: str) -> None:
    schedule = schedule_for(prediction_type)
    clean, noise = clean_and_noise()
    noisy = schedule.add_noise(clean, noise, TIMESTEPS)
    target = training_target(schedule, clean, noise, TIMESTEPS)
    assert torch.allclose(predicted_clean(schedule, noisy, target, TIMESTEPS), clean, atol=1e-3)


def test_the_noise_is_found_again() -> None:
    clean, noise = clean_and_noise()
    noisy = training_schedule().add_noise(clean, noise, TIMESTEPS)
    assert torch.allclose(added_noise(training_schedule(), noisy, clean, TIMESTEPS), noise, atol=1e-3)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_a_prediction_can_be_made_to_name_any_clean_latents(prediction_type: str) -> None:
    """So edits of the estimate reach the solver, which knows nothing but predictions."""
    schedule, timesteps = schedule_for(prediction_type), TIMESTEPS[1:]
    noisy, wanted = clean_and_noise(4)
    prediction = training_target(schedule, wanted, added_noise(schedule, noisy, wanted, timesteps), timesteps)
    assert torch.allclose(predicted_clean(schedule, noisy, prediction, timesteps), wanted, atol=1e-3)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_noising_and_targets_are_those_of_diffusers(prediction_type: str) -> None:
    schedule = schedule_for(prediction_type)
    clean, noise = clean_and_noise()
    signal, sigma = signal_and_noise(schedule, TIMESTEPS)
    noisy = schedule.add_noise(clean, noise, TIMESTEPS)
    assert torch.allclose(noisy, signal * clean + sigma * noise, atol=1e-5)
    wanted = noise if prediction_type == "epsilon" else signal * noise - sigma * clean
    assert torch.allclose(training_target(schedule, clean, noise, TIMESTEPS), wanted, atol=1e-5)


def test_the_last_timestep_is_almost_pure_noise() -> None:
    schedule = training_schedule()
    clean, noise = torch.full((1, 1, 2, 2), 10.0), torch.randn(1, 1, 2, 2)
    assert torch.allclose(schedule.add_noise(clean, noise, torch.tensor([999])), noise, atol=0.02)


@pytest.mark.parametrize("scheduler", ["dpm-solver++", "ddim"])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_a_perfect_denoiser_is_followed_to_its_end(scheduler: str, prediction_type: str) -> None:
    """Sampling with predictions that always name the same clean latents must arrive at them."""
    schedule = schedule_for(prediction_type)
    sampler = sampling_schedule(schedule, scheduler, 12)
    clean, latents = clean_and_noise(1)
    assert sampler.timesteps[0] == 999
    assert len(sampler.timesteps) == 12
    for timestep in sampler.timesteps:
        noise = added_noise(schedule, latents, clean, timestep[None])
        prediction = training_target(schedule, clean, noise, timestep[None])
        latents = sampler.step(prediction, timestep, latents, return_dict=False)[0]
    assert torch.allclose(latents, clean, atol=5e-3)


def test_stratified_timesteps_cover_the_range() -> None:
    timesteps = stratified_timesteps(10, torch.Generator().manual_seed(0))
    assert sorted((timesteps // 100).tolist()) == list(range(10))
