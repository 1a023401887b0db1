"""Strength-controllable diffusion: ancestral sampling with every step's variance inflated (RealNet, arXiv 2403.05897).

    x_{t-1} = mu(x_t, t) + sqrt(1 + s) sigma_t eps,   eps ~ N(0, 1)

The chain of T steps is respaced to a few, its betas re-derived; no noise enters at the last step. The denoiser cannot
wholly take back the noise that it does not expect, so texture and structure drift off the normal ones, more of it the
larger s is; s = 0 is the ordinary ancestral sampler. sigma_t^2 is the posterior's fixed variance (DDPM's
beta-tilde); RealNet's network predicts it between that and beta.

sqrt(1 + s) eps is drawn here as eps_1 + sqrt(s) eps_2, which has the same law and lets a sample be anchored: a twin
chain with eps_1 alone is led back to a given image by the true posterior mean (CycleDiffusion, Wu and De la Torre, ICCV
2023), and what the denoiser's mean lacks to that one is added to the sample's. At s = 0 the sample then is the given
image, whatever the denoiser has left to learn; beyond, it drifts from it by s alone.

In pixels a small denoiser leaves white noise as white noise. eps_2 may have a grain there: the variance of every pixel
stays 1, but neighbours and colours go together, as those of one latent cell do, and stains and dents come of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.schedule import predicted_clean
from tasks.networks.device import moved

Prediction = Callable[[Tensor, Tensor], Tensor]
"""(noisy (n, channels, h, w), timesteps (n,)) -> what the schedule's denoiser predicts."""


@dataclass(frozen=True)
class ReverseStep:
    """q(x_{t-1} | x_t, x_0), of mean clean_share x_0 + noisy_share x_t (DDPM, arXiv 2006.11239, equations 6 and 7).

    Numbers on the host, which every device takes.
    """

    timestep: Tensor
    clean_share: Tensor
    noisy_share: Tensor
    sigma: Tensor
    """0 at the last step."""

    def mean(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return self.clean_share * clean + self.noisy_share * noisy


def reverse_steps(schedule: DDPMScheduler, steps: int, start: float = 1.0) -> list[ReverseStep]:
    """The chain respaced to `steps` steps, from the last timestep to 0; their last share of `start`, at least one."""
    respaced = DDPMScheduler.from_config(schedule.config, timestep_spacing="linspace")
    respaced.set_timesteps(steps)
    left = respaced.timesteps[-max(1, round(start * steps)) :]
    alpha_bar = schedule.alphas_cumprod.cpu()
    after = torch.cat([alpha_bar[left[1:]], torch.ones(1)])
    return [_step(time, alpha_bar[time], then) for time, then in zip(left, after, strict=True)]


def _step(timestep: Tensor, now: Tensor, then: Tensor) -> ReverseStep:
    """`now`, `then`: alpha_bar before and after the step."""
    alpha = now / then
    beta = 1 - alpha
    return ReverseStep(
        timestep,
        clean_share=then**0.5 * beta / (1 - now),
        noisy_share=alpha**0.5 * (1 - then) / (1 - now),
        sigma=((1 - then) / (1 - now) * beta) ** 0.5,
    )


@dataclass(frozen=True)
class Randomness:
    """One generator a sample for each of the two parts of the noise: a sample never depends on its companions."""

    ordinary: Sequence[torch.Generator]
    inflating: Sequence[torch.Generator]


@dataclass(frozen=True)
class InflatedSampler:
    predict: Prediction
    schedule: DDPMScheduler
    steps: int
    start: float = 1.0
    """The share of the chain that is run."""
    anchored: bool = False
    """Whether a sample of strength 0 is the image that it began as."""
    grain: int = 1
    """Pixels over which the inflating noise goes together; 1 is RealNet's white noise."""
    clip: bool = False
    """Whether every estimate of x_0 is held in [-1, 1], as pixels are."""

    @torch.no_grad()
    def sample(self, cleans: Tensor, strengths: Tensor, randomness: Randomness) -> Tensor:
        """Samples (n, channels, h, w) that begin as `cleans` with the noise at the chain's start; strengths (n,)."""
        steps = reverse_steps(self.schedule, self.steps, self.start)
        excess = strengths.view(-1, 1, 1, 1).sqrt()
        noise = _noise(cleans, randomness.ordinary)
        sample = twin = self.schedule.add_noise(cleans, noise, _beside(cleans, steps[0]))
        for step in steps:
            noise = step.sigma * _noise(cleans, randomness.ordinary)
            mean = step.mean(self._estimate(sample, step), sample)
            if self.anchored:
                mean = mean + step.clean_share * (cleans - self._estimate(twin, step))
                twin = step.mean(cleans, twin) + noise
            inflating = grained_noise(cleans, randomness.inflating, self.grain)
            sample = mean + (noise + excess * step.sigma * inflating)
        return sample

    def _estimate(self, noisy: Tensor, step: ReverseStep) -> Tensor:
        """Of x_0."""
        timesteps = _beside(noisy, step)
        estimate = predicted_clean(self.schedule, noisy, self.predict(noisy, timesteps), timesteps)
        return estimate.clamp(-1, 1) if self.clip else estimate


def _beside(latents: Tensor, step: ReverseStep) -> Tensor:
    """The step's timestep, (n,), where n latents are."""
    return moved(step.timestep, latents.device).expand(len(latents))


def _noise(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    return moved(_drawn(like.shape[1:], generators), like.device)


def _drawn(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """On the host, (n, *shape)."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators])


def grained_noise(like: Tensor, generators: Sequence[torch.Generator], grain: int) -> Tensor:
    """Standard normal noise (n, channels, h, w), smoothed over `grain` pixels and alike in all channels; 1: white."""
    if grain == 1:
        return _noise(like, generators)
    line = torch.signal.windows.gaussian(4 * grain + 1, std=grain / 2)
    kernel = torch.outer(line, line)
    height, width = (side + 4 * grain for side in like.shape[-2:])
    grained = functional.conv2d(_drawn((1, height, width), generators), (kernel / kernel.norm())[None, None])
    return moved(grained, like.device).expand_as(like)
