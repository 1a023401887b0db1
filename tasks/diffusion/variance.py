"""Strength-controllable diffusion: ancestral sampling with every step's variance inflated (RealNet, arXiv 2403.05897).

    x_{t-1} = mu(x_t, t) + sqrt(1 + s) sigma_t eps,   eps ~ N(0, 1)

The chain of T steps is respaced to a few, its betas re-derived; no noise enters at the last step. The denoiser cannot
wholly take back the noise that it does not expect, so texture and structure drift off the normal ones, more of it the
larger s is; s = 0 is the ordinary ancestral sampler. sigma_t^2 is the posterior's fixed variance (DDPM's
beta-tilde); RealNet's network predicts it between that and beta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.schedule import add_noise

Prediction = Callable[[Tensor, Tensor], Tensor]
"""(noisy (n, channels, h, w), timesteps (n,)) -> what the schedule's denoiser predicts."""


class InflatedScheduler(DDPMScheduler):
    """diffusers' ancestral sampler with the variance (1 + s) sigma^2."""

    strengths: Tensor = torch.zeros(())
    """s: of the shape (n, 1, 1, 1) one for each sample."""

    def _get_variance(self, *arguments: object, **options: object) -> Tensor:
        return (1 + self.strengths) * super()._get_variance(*arguments, **options)


def inflated_schedule(schedule: DDPMScheduler, steps: int, strengths: Tensor, clip: bool = False) -> InflatedScheduler:
    """The schedule respaced to `steps` steps from the last timestep to 0, with a strength for each of (n,) samples.

    `clip`: hold every estimate of x_0 in [-1, 1], as pixels are.
    """
    inflated = InflatedScheduler.from_config(
        schedule.config, variance_type="fixed_small", timestep_spacing="linspace", clip_sample=clip
    )
    inflated.set_timesteps(steps)
    inflated.strengths = strengths.view(-1, 1, 1, 1)
    return inflated


def remaining_timesteps(schedule: DDPMScheduler, start: float) -> Tensor:
    """The last `start` (0 to 1) of the respaced timesteps, at least one."""
    return schedule.timesteps[-max(1, round(start * len(schedule.timesteps))) :]


@torch.no_grad()
def sample_from(
    predict: Prediction, schedule: DDPMScheduler, cleans: Tensor, start: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """Samples (n, channels, h, w) that begin as `cleans` with the noise that is left when `start` of the chain is.

    `generators`: one a sample; it holds all of the sample's randomness.
    """
    timesteps = remaining_timesteps(schedule, start)
    noise = torch.stack([torch.randn(cleans.shape[1:], generator=generator) for generator in generators])
    sample = add_noise(schedule, cleans, noise, timesteps[:1].expand(len(cleans)))
    for timestep in timesteps:
        prediction = predict(sample, timestep.expand(len(sample)))
        sample = schedule.step(prediction, timestep, sample, generator=list(generators), return_dict=False)[0]
    return sample
