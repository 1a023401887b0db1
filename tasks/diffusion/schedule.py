"""Noise schedules and samplers, from diffusers; every system of the line takes them from here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from tasks.networks.device import moved

TRAIN_TIMESTEPS = 1000
Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler

_EMBEDDED = {
    "num_train_timesteps": TRAIN_TIMESTEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
}


def training_schedule(config: dict[str, object] | None = None) -> DDPMScheduler:
    """The cosine schedule (Nichol and Dhariwal 2021) with v-prediction (Salimans and Ho 2022), or a backbone's own."""
    return DDPMScheduler.from_config(config or _EMBEDDED, clip_sample=False)


def sampling_schedule(schedule: DDPMScheduler, kind: str, steps: int) -> Scheduler:
    """DPM-Solver++ of second order (Lu et al. 2022) or DDIM with eta 0 (Song et al. 2021) over `steps` steps.

    Both begin at the last timestep ("trailing"), so that a sample can start from pure noise.
    """
    if kind == "ddim":
        scheduler: Scheduler = DDIMScheduler.from_config(
            schedule.config, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
        )
    else:
        scheduler = DPMSolverMultistepScheduler.from_config(
            schedule.config, algorithm_type="dpmsolver++", timestep_spacing="trailing", final_sigmas_type="zero"
        )
    scheduler.set_timesteps(steps)
    return scheduler


def signal_and_noise(schedule: DDPMScheduler, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """(sqrt(alpha_bar), sqrt(1 - alpha_bar)) at timesteps (n,), each of shape (n, 1, 1, 1)."""
    schedule.alphas_cumprod = schedule.alphas_cumprod.to(timesteps.device)
    alpha_bar = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def added_noise(schedule: DDPMScheduler, noisy: Tensor, clean: Tensor, timesteps: Tensor) -> Tensor:
    """The noise by which `clean` becomes z_t: the inverse of the schedule's `add_noise`."""
    signal, sigma = signal_and_noise(schedule, timesteps)
    return (noisy - signal * clean) / sigma.clamp_min(1e-4)


def training_target(schedule: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the denoiser is to predict: the noise, or v = sqrt(alpha_bar) * noise - sqrt(1 - alpha_bar) * clean."""
    if schedule.config.prediction_type == "epsilon":
        return noise
    return schedule.get_velocity(clean, noise, timesteps)


def predicted_clean(schedule: DDPMScheduler, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
    """The estimate of z_0 that a prediction at z_t stands for: the inverse of `training_target`."""
    signal, sigma = signal_and_noise(schedule, timesteps)
    if schedule.config.prediction_type == "epsilon":
        return (noisy - sigma * prediction) / signal.clamp_min(1e-4)
    return signal * noisy - sigma * prediction


def timesteps_of(scheduler: Scheduler, like: Tensor, last: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Each timestep of a chain, or of its `last` ones, twice: as the scheduler takes it, on the host, and (n,) beside
    the n latents `like`, as a network does."""
    first = 0 if last is None else -last
    beside = moved(scheduler.timesteps, like.device)
    for timestep, same in zip(scheduler.timesteps[first:], beside[first:], strict=True):
        yield timestep, same.expand(len(like))


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """`count` timesteps, one in each equal part of the range, in random order: less variance than independent ones."""
    offsets = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (offsets * TRAIN_TIMESTEPS).long().clamp_max(TRAIN_TIMESTEPS - 1)[torch.randperm(count, generator=generator)]


def own_schedule(path: str) -> DDPMScheduler:
    """The noise schedule that a pipeline was trained on."""
    return training_schedule(dict(DDPMScheduler.load_config(path, subfolder="scheduler")))
