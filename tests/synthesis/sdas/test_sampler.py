"""SDAS' sampler: at strength 0 the ordinary ancestral one, and beyond it exactly the variance that was asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.schedule import training_schedule
from tasks.synthesis.sdas.sampler import InflatedSampler, Randomness, grained_noise, reverse_steps

SHAPE = (3, 8, 8)
STEPS = 20


def guess(noisy: Tensor, timesteps: Tensor) -> Tensor:
    """A fixed denoiser: no network, but one whose answer depends on every pixel and on the time."""
    return torch.tanh(noisy.roll(1, -1)) * (0.5 + timesteps.view(-1, 1, 1, 1) / 1000)


def randomness(count: int, first: int = 0, last: int | None = None) -> Randomness:
    """Of samples `first` to `last` of `count`."""
    chosen = range(count)[first:last]
    return Randomness(*([torch.Generator().manual_seed(seed + base) for seed in chosen] for base in (0, 1000)))


LINEAR: dict[str, object] = {"beta_schedule": "linear", "prediction_type": "epsilon"}


@pytest.mark.parametrize("config", [None, LINEAR], ids=["cosine, v", "linear, epsilon"])
@pytest.mark.parametrize("clip", [False, True])
def test_strength_0_is_the_ancestral_sampler_of_diffusers_bit_for_bit(
    config: dict[str, object] | None, clip: bool
) -> None:
    schedule = training_schedule(config)
    sampler = InflatedSampler(guess, schedule, STEPS, clip=clip)
    samples = sampler.sample(torch.zeros(4, *SHAPE), torch.zeros(4), randomness(4))

    plain = DDPMScheduler.from_config(schedule.config, timestep_spacing="linspace", clip_sample=clip)
    plain.set_timesteps(STEPS)
    own = randomness(4).ordinary
    sample = torch.stack([torch.randn(SHAPE, generator=generator) for generator in own])
    sample = (1 - schedule.alphas_cumprod[999]).sqrt() * sample
    for timestep in plain.timesteps:
        sample = plain.step(guess(sample, timestep.expand(4)), timestep, sample, generator=own).prev_sample
    assert torch.equal(samples, sample)


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.4, 2.0])
def test_every_step_but_the_last_injects_the_inflated_variance(strength: float) -> None:
    samples: list[Tensor] = []

    def follow(noisy: Tensor, timesteps: Tensor) -> Tensor:
        samples.append(noisy)
        return torch.zeros_like(noisy)

    schedule = training_schedule()
    sampler = InflatedSampler(follow, schedule, STEPS)
    samples.append(sampler.sample(torch.zeros(1, 1, 200, 200), torch.tensor([strength]), randomness(1)))
    steps = reverse_steps(schedule, STEPS)
    for step, now, after in zip(steps, samples[:-1], samples[1:], strict=True):
        estimate = schedule.alphas_cumprod[step.timestep].sqrt() * now  # of x_0, for v = 0
        injected = after - step.mean(estimate, now)
        assert float(injected.var()) == pytest.approx(float((1 + strength) * step.sigma**2), rel=0.02, abs=1e-9)
    assert steps[-1].timestep == 0
    assert steps[-1].sigma == 0


def test_each_sample_has_its_own_strength_and_noise() -> None:
    cleans = torch.rand(3, *SHAPE) * 2 - 1
    sampler = InflatedSampler(guess, training_schedule(), STEPS, start=0.5, anchored=True)
    batch = sampler.sample(cleans, torch.tensor([0.0, 0.2, 1.0]), randomness(3))
    single = sampler.sample(cleans[1:2], torch.tensor([0.2]), randomness(3, first=1, last=2))
    assert torch.equal(batch[1:2], single)


def test_an_anchored_sample_is_its_clean_image_at_strength_0_and_drifts_with_the_strength() -> None:
    cleans = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(9)) * 2 - 1
    sampler = InflatedSampler(guess, training_schedule(), STEPS, start=0.7, anchored=True)
    distances = []
    for strength in (0.0, 0.1, 0.4, 1.6):
        samples = sampler.sample(cleans, torch.full((32,), strength), randomness(32))
        distances.append(float((samples - cleans).abs().mean()))
    assert distances[0] < 1e-5
    assert all(less < more for less, more in pairwise(distances))


def test_a_late_start_runs_the_end_of_the_chain() -> None:
    whole = [int(step.timestep) for step in reverse_steps(training_schedule(), STEPS)]
    assert (whole[0], whole[-1], len(whole)) == (999, 0, STEPS)
    assert [int(step.timestep) for step in reverse_steps(training_schedule(), STEPS, 0.5)] == whole[10:]
    assert [int(step.timestep) for step in reverse_steps(training_schedule(), STEPS, 0.001)] == [0]


def test_a_sample_of_a_late_start_stays_nearer_to_its_clean_image() -> None:
    """With the exact denoiser of standard normal images, of which every sample is one."""

    def exact(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return torch.zeros_like(noisy)  # v = sqrt(a) noise - sqrt(1 - a) image, whose mean given `noisy` is 0

    cleans = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(9))
    distances = []
    for start in (0.25, 0.5, 1.0):
        sampler = InflatedSampler(exact, training_schedule(), STEPS, start)
        samples = sampler.sample(cleans, torch.zeros(32), randomness(32))
        assert samples.std() == pytest.approx(1, abs=0.1)
        distances.append(float((samples - cleans).abs().mean()))
    assert distances == sorted(distances)
    assert distances[0] < 0.5 * distances[2]


def test_grained_noise_has_variance_1_and_goes_together() -> None:
    noise = grained_noise(torch.zeros(64, 3, 40, 40), randomness(64).ordinary, grain=3)
    assert noise.var() == pytest.approx(1, rel=0.05)
    assert noise[..., 0, :].var() == pytest.approx(1, rel=0.2)  # at the edge, too
    assert torch.equal(noise[:, 0], noise[:, 2])
    neighbours, far = (float((noise[..., by:] * noise[..., :-by]).mean()) for by in (1, 20))
    assert neighbours > 0.8
    assert abs(far) < 0.1
    alone = grained_noise(torch.zeros(1, 3, 40, 40), randomness(64, 5, 6).ordinary, grain=3)
    assert torch.allclose(noise[5:6], alone, atol=1e-5)
