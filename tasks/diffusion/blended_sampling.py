"""AnomalyDiffusion's blended sampling (arXiv 2312.05767): a defect inside the mask, and no other change.

Before every step, and once after the last, the cells outside the mask are the clean image's at the step's noise level:
x_t <- m x_t + (1 - m) q(E(I), t). The paper starts from pure noise, too, but samples without guidance, and few defects
are then seen; here it runs from the clean prompt to the anomaly embedding, inside the mask only, so that the strength
orders how visible the defects are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.anomaly_embedding import AnomalyDenoiser
from tasks.diffusion.attention import cross_attention
from tasks.diffusion.attention_reweighting import attention_weights, reweighted
from tasks.diffusion.latents import blend, cells_of, guidance_scale, guided
from tasks.diffusion.schedule import predicted_clean, sampling_schedule, timesteps_of
from tasks.params.systems import AnomalyDiffusionParams


@dataclass(frozen=True)
class Scene:
    """n places to be painted."""

    cleans: Tensor
    """(n, channels, h, w): latents of the clean images."""
    masks: Tensor
    """(n, 1, height, width) of 0 and 1."""
    labels: Tensor
    """(n,) of the defects."""
    strengths: Tensor
    """(n,) guidance; 1 is the embedding alone."""
    noise: Tensor
    """Like `cleans`, standard normal: all the randomness there is."""


@torch.no_grad()
def paint_blended(
    denoiser: AnomalyDenoiser, schedule: DDPMScheduler, scene: Scene, params: AnomalyDiffusionParams
) -> Tensor:
    """Latents (n, channels, h, w), deterministic in `scene`; outside the mask's cells exactly the clean ones."""
    cells = cells_of(scene.masks)
    guide = _Guide(denoiser, scene, cells)
    weights = torch.ones_like(cells)
    scheduler = sampling_schedule(schedule, params.scheduler, params.steps)
    latents = scene.noise
    for timestep, timesteps in timesteps_of(scheduler, latents):
        latents = blend(latents, schedule.add_noise(scene.cleans, scene.noise, timesteps), cells)
        prediction = guide(latents, timesteps, weights)
        if params.reweight_attention:
            estimate = predicted_clean(schedule, latents, prediction, timesteps)
            weights = attention_weights(estimate, scene.cleans, cells, params.reweight_limit)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return blend(latents, scene.cleans, cells)


class _Guide:
    """clean + (1 + (g - 1) m) (defect - clean), the predictions of both in one batch."""

    def __init__(self, denoiser: AnomalyDenoiser, scene: Scene, cells: Tensor) -> None:
        self._backbone, self._anomaly_tokens = denoiser.backbone, denoiser.embedding.count
        defect, clean = denoiser.tokens(scene.labels, scene.masks), denoiser.clean_tokens(scene.labels)
        self._tokens = torch.cat([defect, clean])
        self._scale = guidance_scale(scene.strengths, cells)
        hole = denoiser.hole(scene.masks, scene.cleans * (1 - cells))
        self._hole = hole and hole.twice()

    def __call__(self, latents: Tensor, timesteps: Tensor, weights: Tensor) -> Tensor:
        """The guided prediction, with the defect's attention re-weighted by (n, 1, h, w)."""
        edit = reweighted(torch.cat([weights, torch.ones_like(weights)]), self._anomaly_tokens)
        with torch.autocast(latents.device.type, torch.bfloat16), cross_attention(self._backbone.unet, edit):
            both = self._backbone.predict(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), self._tokens, self._hole)
        return guided(both, self._scale)
