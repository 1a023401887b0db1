"""AdaBLDM's inference (arXiv 2402.19330): a free stage, latent-space editing, image-space editing.

Guidance runs between the defect and the clean label and inside the mask only,
    v = v_clean + (1 + (g - 1) m) (v_defect - v_clean),
so that the strength g orders how visible the defect is and leaves the rest alone; guidance between the label and no
label, the usual kind, was seen to paint nothing visible from image labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.diffusion.blending import blend, cells_of
from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import Condition, Denoiser, make_condition
from tasks.diffusion.schedule import add_noise, predicted_clean, sampling_schedule
from tasks.system_params import AdaBLDMParams


@dataclass(frozen=True)
class Edit:
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
    with torch.autocast(noisy.device.type, torch.bfloat16):
        both = denoiser(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), condition.join(clean))
    defect, without = both.float().chunk(2)
    return without + scale * (defect - without)


def stage_of(step: int, params: AdaBLDMParams) -> str:
    """`free`, `latent` or `image`, by the share of the steps that lies behind."""
    if step < round(params.free_share * params.steps):
        return "free"
    return "image" if step >= params.steps - round(params.image_space_share * params.steps) else "latent"


@torch.no_grad()
def paint_latents(
    denoiser: Denoiser, codec: Codec, schedule: DDPMScheduler, edit: Edit, params: AdaBLDMParams
) -> Tensor:
    """Latents (n, channels, h, w) of the edited images, from pure noise and deterministic in `edit`."""
    with torch.autocast(edit.cleans.device.type, torch.bfloat16):
        clean_latents = codec.encode(edit.cleans).float()
    cells = cells_of(edit.masks)
    condition = make_condition(clean_latents, edit.trimaps, edit.defect_labels)
    clean_condition = condition.without_defect(edit.clean_labels)
    scale = 1 + (edit.strengths.view(-1, 1, 1, 1) - 1) * cells
    scheduler = sampling_schedule(schedule, params.scheduler, params.steps)
    latents = edit.noise
    for step, timestep in enumerate(scheduler.timesteps):
        timesteps = timestep.expand(len(latents))
        stage = stage_of(step, params)
        if stage != "free":
            # The clean latents at this noise level, with the sample's own noise: no fresh randomness enters.
            latents = blend(latents, add_noise(schedule, clean_latents, edit.noise, timesteps), cells)
        prediction = guided_prediction(denoiser, latents, timesteps, condition, clean_condition, scale)
        if stage == "image":
            estimate = predicted_clean(schedule, latents, prediction, timesteps)
            kept = keep_clean_pixels(codec, estimate, edit)
            prediction = _prediction_for(schedule, latents, kept, timesteps)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return blend(latents, clean_latents, cells)


def keep_clean_pixels(codec: Codec, latents: Tensor, edit: Edit) -> Tensor:
    """Decode, put the clean pixels back outside of the mask, encode again."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        pixels = blend(codec.decode(latents).float().clamp(-1, 1), edit.cleans, edit.masks)
        return codec.encode(pixels).float()


def _prediction_for(schedule: DDPMScheduler, noisy: Tensor, clean: Tensor, timesteps: Tensor) -> Tensor:
    """The prediction at z_t whose estimate of z_0 is `clean`: the solver then steps there, with no noise left over."""
    alpha_bar = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt().clamp_min(1e-4)
    noise = (noisy - signal * clean) / sigma
    if schedule.config.prediction_type == "epsilon":
        return noise
    return signal * noise - sigma * clean
