"""AnomalyDiffusion's blended sampling (arXiv 2312.05767): a defect inside the mask, and no other change.

Before every step, and once after the last, the cells outside the mask are the clean image's at the step's noise level:
x_t <- m x_t + (1 - m) q(E(I), t). The paper starts from pure noise, too, but samples without guidance, and few defects
are then seen; here it runs from the clean prompt to the anomaly embedding, inside the mask only, so that the strength
orders how visible the defects are.

AnomalyDiffusion's adaptive attention re-weighting (arXiv 2312.05767): more attention where an anomaly is faint.

In: the estimate of the finished latents, the clean image's latents and the cells of the mask m. Out: weights
w = |m| Softmax(1 / d), with d the squared difference of the two in each cell, and cross-attention scores
(Q K^T / sqrt(k)) * w of the anomaly's tokens.

What differs. The paper measures d on decoded images and puts 1 / d into the softmax as it is: in one unit a single cell
takes all the weight, in another all get the same. Here d is of latents, and 1 / d is taken in parts of its mean over
the mask. The published code takes the noisy latents for the estimate, drops the exponential and clamps w to [1, 1.5].
The clamp is kept: below 1 attention would be taken away from a fill that is not done yet. As published, w multiplies
the score, so that a token which a place does not look at (a score below 0) is looked at less.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.attention import EditScores, cross_attention
from tasks.diffusion.latents import blend, cells_of, guidance_scale, guided
from tasks.diffusion.schedule import predicted_clean, sampling_schedule, timesteps_of
from tasks.diffusion.text_backbone import Hole
from tasks.networks.device import lower_precision
from tasks.params.systems import AnomalyDiffusionParams
from tasks.synthesis.anomalydiffusion.embedding import AnomalyDenoiser

_LEAST_DIFFERENCE = 1e-2
"""Of the mean: a cell that equals the clean image has a weight, not an infinity."""


@dataclass(frozen=True)
class BlendRequest:
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
    hole: Hole | None
    """For a backbone that takes one."""


@torch.no_grad()
def paint_blended(
    denoiser: AnomalyDenoiser, schedule: DDPMScheduler, scene: BlendRequest, params: AnomalyDiffusionParams
) -> Tensor:
    """Latents (n, channels, h, w), deterministic in `scene`; outside the mask's cells exactly the clean ones."""
    cells = cells_of(scene.masks)
    guide = _Guide(denoiser, scene, cells)
    weights = torch.ones_like(cells) if params.reweight_attention else None
    scheduler = sampling_schedule(schedule, params.scheduler, params.steps)
    latents = scene.noise
    for timestep, timesteps in timesteps_of(scheduler, latents):
        latents = blend(latents, schedule.add_noise(scene.cleans, scene.noise, timesteps), cells)
        prediction = guide(latents, timesteps, weights)
        if weights is not None:
            estimate = predicted_clean(schedule, latents, prediction, timesteps)
            weights = attention_weights(estimate, scene.cleans, cells, params.reweight_limit)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return blend(latents, scene.cleans, cells)


class _Guide:
    """clean + (1 + (g - 1) m) (defect - clean), the predictions of both in one batch."""

    def __init__(self, denoiser: AnomalyDenoiser, scene: BlendRequest, cells: Tensor) -> None:
        self._backbone, self._anomaly_tokens = denoiser.backbone, denoiser.embedding.count
        defect, clean = denoiser.tokens(scene.labels, scene.masks), denoiser.clean_tokens(scene.labels)
        self._tokens = torch.cat([defect, clean])
        self._scale = guidance_scale(scene.strengths, cells)
        self._hole = scene.hole and scene.hole.repeated(2)

    def __call__(self, latents: Tensor, timesteps: Tensor, weights: Tensor | None = None) -> Tensor:
        """The guided prediction; with weights (n, 1, h, w) the defect's attention is re-weighted."""
        with lower_precision(latents.device), self._reweighting(weights):
            both = self._backbone.predict(latents.repeat(2, 1, 1, 1), timesteps.repeat(2), self._tokens, self._hole)
        return guided(both, self._scale)

    def _reweighting(self, weights: Tensor | None) -> AbstractContextManager[object]:
        """Attention whose scores are edited is slower than the U-Net's own."""
        if weights is None:
            return nullcontext()
        edit = reweighted(torch.cat([weights, torch.ones_like(weights)]), self._anomaly_tokens)
        return cross_attention(self._backbone.unet, edit)


def attention_weights(estimate: Tensor, clean: Tensor, cells: Tensor, limit: float) -> Tensor:
    """(n, 1, h, w) between 1 and `limit`, 1 outside the mask.

    `estimate` and `clean` are latents (n, channels, h, w), `cells` (n, 1, h, w) of 0 and 1.
    """
    area = cells.sum(dim=(2, 3), keepdim=True)
    difference = (cells * (estimate - clean)).square().mean(dim=1, keepdim=True)
    faint = cells / (difference / _mean(difference, area)).clamp_min(_LEAST_DIFFERENCE)
    scores = (faint / _mean(faint, area)).masked_fill(cells == 0, -torch.inf)
    shares = scores.flatten(1).softmax(dim=1).view_as(scores).nan_to_num()
    return (area * shares).clamp(1, limit)


def _mean(values: Tensor, area: Tensor) -> Tensor:
    """Over the mask, outside of which the values are 0."""
    return (values.sum(dim=(2, 3), keepdim=True) / area.clamp_min(1)).clamp_min(1e-12)


def reweighted(weights: Tensor, token_count: int) -> EditScores:
    """The edit of cross-attention scores that multiplies those of the last `token_count` tokens by (n, 1, h, w)."""

    def edit(scores: Tensor, side: int) -> Tensor:
        at_layer = functional.adaptive_avg_pool2d(weights, side).flatten(2).unsqueeze(-1)
        others, anomaly = scores.split([scores.shape[-1] - token_count, token_count], dim=-1)
        return torch.cat([others, anomaly * at_layer.to(scores.dtype)], dim=-1)

    return edit
