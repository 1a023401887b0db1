"""Filling a hole with a low-rank backbone, guided from the clean to the defect prompt inside it.

    v = v_clean + (1 + (g - 1) m) (v_defect - v_clean)
The guidance g is the sample's strength, m the cells of the mask. Outside of them every step goes on from the clean
image's latents at its noise level (Blended Latent Diffusion, Avrahami et al., arXiv 2206.02779): a backbone that was
made for inpainting sees its surroundings in any case, one made for text sees them in this way alone.

The chain starts from pure noise, or further down from a noised exemplar (SDEdit, Meng et al., ICLR 2022): a real defect
that lies in the hole already, whose shape then stays and whose details are painted anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.latents import blend, cells_of, guidance_scale, guided
from tasks.diffusion.schedule import Scheduler, timesteps_of
from tasks.diffusion.text_backbone import Hole
from tasks.networks.device import lower_precision
from tasks.params.systems import GuideFrom
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone


@dataclass(frozen=True)
class FillRequest:
    """n holes to be filled."""

    clean_latents: Tensor
    """(n, channels, h, w)."""
    masks: Tensor
    """(n, 1, height, width) of 0 and 1."""
    defect_labels: Tensor
    rival_labels: Tensor
    strengths: Tensor
    """(n,) guidance g; 1 is plain conditioning on the defect."""
    hole: Hole | None
    """For a backbone that takes one."""
    exemplars: Tensor
    """(n, channels, h, w), latents of what the chain starts from; `start` 1 forgets them."""
    start: float = 1.0
    """The share of the chain that is run, above 0."""
    guide_from: GuideFrom = "clean"
    """What the rival labels stand for."""


@dataclass(frozen=True)
class Draw:
    """All the randomness of n filled holes, standard normal."""

    noise: Tensor
    """(n, channels, h, w)."""
    disturbance: Tensor
    """(n, tokens, width), already of the size that prompts are disturbed by."""


@torch.no_grad()
def fill_holes(
    model: LowRankBackbone, schedule: DDPMScheduler, sampler: Scheduler, filling: FillRequest, draw: Draw
) -> Tensor:
    """Latents (n, channels, h, w), outside of the mask's cells those of the clean image; `sampler` is started anew."""
    cells = cells_of(filling.masks)
    scale = guidance_scale(filling.strengths, cells, filling.guide_from)
    sampler.set_timesteps(sampler.num_inference_steps)
    chain = list(timesteps_of(sampler, draw.noise, max(1, round(filling.start * len(sampler.timesteps)))))
    latents = draw.noise
    if filling.start < 1:
        latents = schedule.add_noise(filling.exemplars, draw.noise, chain[0][1])
    for timestep, timesteps in chain:
        around = schedule.add_noise(filling.clean_latents, draw.noise, timesteps)
        latents = blend(latents, around, cells)
        prediction = _guided(model, latents, timesteps, filling, draw.disturbance, scale)
        latents = sampler.step(prediction, timestep, latents, return_dict=False)[0]
    return blend(latents, filling.clean_latents, cells)


def _guided(
    model: LowRankBackbone,
    noisy: Tensor,
    timesteps: Tensor,
    filling: FillRequest,
    disturbance: Tensor,
    scale: Tensor,
) -> Tensor:
    """Both predictions in one batch, with one disturbance: their difference is the defect's alone."""
    labels = torch.cat([filling.defect_labels, filling.rival_labels])
    hole = filling.hole and filling.hole.repeated(2)
    with lower_precision(noisy.device):
        both = model.predict(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), labels, hole, disturbance.repeat(2, 1, 1))
    return guided(both, scale)
