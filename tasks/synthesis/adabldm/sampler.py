"""AdaBLDM's inference (arXiv 2402.19330): a free stage, latent-space editing, image-space editing.

The clean surroundings enter at each step's noise level: in latent space as q(E(x), t) beside the dilated mask, then in
image space, where x is pasted around the mask of the decoded estimate. The paper noises what it encodes from that anew,
whereby small defects fade and a little noise is left in the end. Here the step's prediction is exchanged for the one
that leads to the edited estimate: the last step ends in it, and nothing but the edit decides.

Guidance runs between the defect and the clean label and inside the mask only,
    v = v_clean + (1 + (g - 1) m) (v_defect - v_clean),
so that the strength g orders how visible the defect is and leaves the rest alone; guidance between the label and no
label, the usual kind, was seen to paint nothing visible from image labels.

What the denoiser is told is the paper's trimap (section 3.2): defect, object, background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor

from tasks.contracts import DefectoryError, Mask
from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import Condition, Denoiser, make_condition
from tasks.diffusion.latents import blend, cells_of, guidance_scale, guided
from tasks.diffusion.schedule import added_noise, predicted_clean, sampling_schedule, timesteps_of, training_target
from tasks.networks.device import lower_precision
from tasks.params.systems import AdaBLDMParams

_REACH = 2
"""Cells by which the mask is dilated on the latent grid: the paper's 5 x 5."""

DEFECT, OBJECT, BACKGROUND = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class EditRequest:
    """n places to be painted."""

    cleans: Tensor
    """(n, 3, height, width) in [-1, 1]."""
    masks: Tensor
    """(n, 1, height, width) of 0 and 1."""
    trimaps: Tensor
    """(n, 1, height, width) with 0, 0.5 and 1."""
    defect_labels: Tensor
    clean_labels: Tensor
    strengths: Tensor
    """(n,) guidance g; 1 is plain conditioning on the defect label."""
    noise: Tensor
    """(n, channels, height / 8, width / 8), standard normal: all the randomness there is."""


def guided_prediction(
    denoiser: Denoiser, noisy: Tensor, timesteps: Tensor, condition: Condition, clean: Condition, scale: Tensor
) -> Tensor:
    """The prediction for the clean condition plus `scale` times the step from it to the defect's; one batched call."""
    with lower_precision(noisy.device):
        both = denoiser(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), condition.join(clean))
    return guided(both, scale)


def stage_of(step: int, params: AdaBLDMParams) -> str:
    """`free`, `latent` or `image`, by the share of the steps that lies behind."""
    if step < round(params.free_share * params.steps):
        return "free"
    return "image" if step >= params.steps - round(params.image_space_share * params.steps) else "latent"


@torch.no_grad()
def paint_latents(
    denoiser: Denoiser, codec: Codec, schedule: DDPMScheduler, edit: EditRequest, params: AdaBLDMParams
) -> Tensor:
    """Latents (n, channels, h, w) of the edited images, from pure noise and deterministic in `edit`."""
    with lower_precision(edit.cleans.device):
        clean_latents = codec.encode(edit.cleans).float()
    cells = cells_of(edit.masks, _REACH)
    condition = make_condition(clean_latents, edit.trimaps, edit.defect_labels, _REACH)
    rival = _rival(condition, edit, denoiser.empty_label, params)
    scale = guidance_scale(edit.strengths, cells, params.guide_from)
    scheduler = sampling_schedule(schedule, params.scheduler, params.steps)
    latents, stage = edit.noise, "free"
    for step, (timestep, timesteps) in enumerate(timesteps_of(scheduler, latents)):
        stage = stage_of(step, params)
        if stage == "latent":
            latents = blend(latents, schedule.add_noise(clean_latents, edit.noise, timesteps), cells)
        prediction = guided_prediction(denoiser, latents, timesteps, condition, rival, scale)
        if stage == "image":
            kept = keep_clean_pixels(codec, predicted_clean(schedule, latents, prediction, timesteps), edit)
            noise = added_noise(schedule, latents, kept, timesteps)
            prediction = training_target(schedule, kept, noise, timesteps)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents if stage == "free" else blend(latents, clean_latents, cells)


def _rival(condition: Condition, edit: EditRequest, empty_label: int, params: AdaBLDMParams) -> Condition:
    """What guidance leads away from."""
    if params.guide_from == "empty":
        return replace(condition, labels=torch.full_like(condition.labels, empty_label))
    return condition.without_defect(edit.clean_labels)


def keep_clean_pixels(codec: Codec, latents: Tensor, edit: EditRequest) -> Tensor:
    """Decode, put the clean pixels back outside of the mask, encode again."""
    with lower_precision(latents.device):
        pixels = blend(codec.decode(latents).float().clamp(-1, 1), edit.cleans, edit.masks)
        return codec.encode(pixels).float()


def trimap(mask: Mask, foreground: Mask) -> NDArray[np.float32]:
    """(height, width) float32: 1 where the defect is, 0.5 on the rest of the object, 0 behind it.

    A defect pixel off the foreground is 1 all the same: a real missing part lies there.
    Raises DefectoryError where the two shapes differ.
    """
    if mask.shape != foreground.shape:
        raise DefectoryError(f"a mask of {mask.shape} and a foreground of {foreground.shape}: give both one size")
    return np.where(mask, DEFECT, np.where(foreground, OBJECT, BACKGROUND)).astype(np.float32)
