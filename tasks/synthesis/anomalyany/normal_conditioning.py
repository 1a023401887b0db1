"""AnomalyAny's test-time normal conditioning (arXiv 2406.01078): a short chain that begins at the noised clean image.

Only the last share gamma of the denoising chain is run, from q(E(I), t); after every step the latents outside of the
mask are put back to q(E(I), t) of the timestep reached, with the sample's own noise. (The published code puts them
back to the timestep just left, one level too noisy.) The paper takes the last 25 of 100 sampling steps for gamma 0.25;
here every chain has the same number of steps however long it is, so that samples of any strength share a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.latents import blend
from tasks.diffusion.schedule import TRAIN_TIMESTEPS, predicted_clean, signal_and_noise


@dataclass(frozen=True)
class Chain:
    """The last part of the denoising chain over n clean images, of each its own share, in `steps` steps."""

    schedule: DDPMScheduler
    clean: Tensor
    """E(I), (n, channels, h, w)."""
    cells: Tensor
    """m, (n, 1, h, w) of 0 and 1; 1 is to be painted."""
    noise: Tensor
    """(n, channels, h, w), standard normal."""
    strengths: Tensor
    """gamma, (n,) in [0, 1]."""
    steps: int

    def timesteps(self, step: int) -> Tensor:
        """Of each image (n,), before step number `step`; -1, which is without noise, after the last one."""
        left = 1 - step / self.steps
        return (self.strengths * TRAIN_TIMESTEPS * left).round().long() - 1

    def start(self) -> Tensor:
        """The clean images at their first timestep."""
        return at_level(self.schedule, self.clean, self.noise, self.timesteps(0))

    def advance(self, latents: Tensor, prediction: Tensor, step: int) -> Tensor:
        """The latents after step number `step`: DDIM with eta 0 inside the mask, the clean image outside."""
        now, then = self.timesteps(step).clamp_min(0), self.timesteps(step + 1)
        estimate = predicted_clean(self.schedule, latents, prediction, now)
        signal, sigma = signal_and_noise(self.schedule, now)
        noise = (latents - signal * estimate) / sigma
        painted = at_level(self.schedule, estimate, noise, then)
        return blend(painted, at_level(self.schedule, self.clean, self.noise, then), self.cells)

    def estimate(self, latents: Tensor, prediction: Tensor, step: int) -> Tensor:
        """The image that a prediction stands for inside the mask, the clean one outside."""
        estimate = predicted_clean(self.schedule, latents, prediction, self.timesteps(step).clamp_min(0))
        return blend(estimate, self.clean, self.cells)


def at_level(schedule: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """q(z_t | z_0) at timesteps (n,); at -1 the clean latents themselves."""
    noisy = schedule.add_noise(clean, noise, timesteps.clamp_min(0))
    return torch.where(timesteps.view(-1, 1, 1, 1) < 0, clean, noisy)
