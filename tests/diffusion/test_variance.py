"""SDAS' sampler: at strength 0 the ordinary ancestral one, and beyond it exactly the variance that was asked for."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.schedule import training_schedule
from tasks.diffusion.variance import inflated_schedule, remaining_timesteps, sample_from

SHAPE = (3, 8, 8)
STEPS = 20


def guess(noisy: Tensor, timesteps: Tensor) -> Tensor:
    """A fixed denoiser: no network, but one whose answer depends on every pixel and on the time."""
    return torch.tanh(noisy.roll(1, -1)) * (0.5 + timesteps.view(-1, 1, 1, 1) / 1000)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in range(count)]


LINEAR: dict[str, object] = {"beta_schedule": "linear", "prediction_type": "epsilon"}


@pytest.mark.parametrize("config", [None, LINEAR], ids=["cosine, v", "linear, epsilon"])
@pytest.mark.parametrize("clip", [False, True])
def test_strength_0_is_the_ancestral_sampler_of_diffusers_bit_for_bit(
    config: dict[str, object] | None, clip: bool
) -> None:
    schedule = training_schedule(config)
    schedule_here = inflated_schedule(schedule, STEPS, torch.zeros(4), clip)
    samples = sample_from(guess, schedule_here, torch.zeros(4, *SHAPE), 1.0, generators(4))

    plain = DDPMScheduler.from_config(schedule.config, timestep_spacing="linspace", clip_sample=clip)
    plain.set_timesteps(STEPS)
    own = generators(4)
    sample = torch.stack([torch.randn(SHAPE, generator=generator) for generator in own])
    sample = (1 - schedule.alphas_cumprod[999]).sqrt() * sample
    for timestep in plain.timesteps:
        sample = plain.step(guess(sample, timestep.expand(4)), timestep, sample, generator=own).prev_sample
    assert torch.equal(samples, sample)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.4, 2.0])
def test_every_step_but_the_last_injects_the_inflated_variance(strength: float) -> None:
    schedule = inflated_schedule(training_schedule(), STEPS, torch.tensor([strength]))
    alpha_bar = schedule.alphas_cumprod
    noisy = torch.zeros(1, 1, 200, 200)  # a step's outcome is then its mean, the same everywhere, plus the noise
    for now, then in zip(schedule.timesteps[:-1], schedule.timesteps[1:], strict=True):
        beta = 1 - alpha_bar[now] / alpha_bar[then]
        variance = beta * (1 - alpha_bar[then]) / (1 - alpha_bar[now])
        after = schedule.step(noisy, now, noisy, generator=generators(1)).prev_sample
        assert after.var() == pytest.approx(float((1 + strength) * variance), rel=0.02)
    last = schedule.timesteps[-1]
    assert last == 0
    assert schedule.step(noisy, last, noisy).prev_sample.var() == 0


def test_each_sample_has_its_own_strength_and_noise() -> None:
    cleans = torch.rand(3, *SHAPE) * 2 - 1
    together = inflated_schedule(training_schedule(), STEPS, torch.tensor([0.0, 0.2, 1.0]))
    alone = inflated_schedule(training_schedule(), STEPS, torch.tensor([0.2]))
    batch = sample_from(guess, together, cleans, 0.5, generators(3))
    single = sample_from(guess, alone, cleans[1:2], 0.5, generators(3)[1:2])
    assert torch.equal(batch[1:2], single)


def test_a_late_start_runs_the_end_of_the_chain() -> None:
    schedule = inflated_schedule(training_schedule(), STEPS, torch.zeros(1))
    assert torch.equal(remaining_timesteps(schedule, 1.0), schedule.timesteps)
    assert torch.equal(remaining_timesteps(schedule, 0.5), schedule.timesteps[10:])
    assert remaining_timesteps(schedule, 0.001).tolist() == [0]


def test_a_sample_of_a_late_start_stays_nearer_to_its_clean_image() -> None:
    """With the exact denoiser of standard normal images, of which every sample is one."""
    schedule = training_schedule()

    def exact(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return torch.zeros_like(noisy)  # v = sqrt(a) noise - sqrt(1 - a) image, whose mean given `noisy` is 0

    cleans = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(9))
    distances = []
    for start in (0.25, 0.5, 1.0):
        plain = inflated_schedule(schedule, STEPS, torch.zeros(32))
        samples = sample_from(exact, plain, cleans, start, generators(32))
        assert samples.std() == pytest.approx(1, abs=0.1)
        distances.append(float((samples - cleans).abs().mean()))
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]
