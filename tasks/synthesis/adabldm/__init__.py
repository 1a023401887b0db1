"""AdaBLDM: blended latent diffusion on a trimap, with online decoder adaptation (Li et al., arXiv 2402.19330).

In: clean images with masks, and few real defects (with masks, or with image labels and pseudo-masks). Out: the
clean images with a defect of the wanted type inside the mask. The backbone is the embedded small one, trained
here, or a Stable-Diffusion-type one with a ControlNet; the code that paints is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import CLEAN, Place
from tasks.diffusion import codec_training, pool
from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import Denoiser, LabelTable
from tasks.diffusion.latents import mask_tensor, to_tensor
from tasks.diffusion.pretrained import prompts_of
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import moved
from tasks.params import Params
from tasks.params.systems import AdaBLDMParams
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis.adabldm.denoiser import fit_denoiser, load_fitted_denoiser
from tasks.synthesis.adabldm.sampler import EditRequest, paint_latents, trimap
from tasks.synthesis.protocol import Painted, full_batches


@dataclass(frozen=True)
class Model:
    codec: Codec
    denoiser: Denoiser
    schedule: DDPMScheduler
    table: LabelTable


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fine-tune the codec on the train split, make pseudo-masks where labels are per image, train the denoiser."""
    codec_training.fit_codec(inputs, params, workdir, device, report)
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)
    fit_denoiser(inputs, params, workdir, device, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    codec = codec_training.load_fitted_codec(params, workdir, device)
    table = pool.label_table(inputs)
    denoiser, schedule = load_fitted_denoiser(codec, table, params, workdir, device)
    return Model(codec, denoiser, schedule, table)


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Latents (n, channels, h, w), painted in batches of `paint.batch_size`."""
    own, latents = params.of(AdaBLDMParams), []
    for batch, count in full_batches(places, params.paint.batch_size):
        edit = _edit(model, batch)
        latents.append(paint_latents(model.denoiser, model.codec, model.schedule, edit, own)[:count])
    prompts = prompts_of(params.paint.prompt, places)
    return Painted(torch.cat(latents), model.codec, prompts=prompts)


def _edit(model: Model, places: Sequence[Place]) -> EditRequest:
    def labels(types: Sequence[str]) -> Tensor:
        return torch.tensor([model.table.index(p.spec.category, t) for p, t in zip(places, types, strict=True)])

    side = len(places[0].mask) // 8
    shape = (model.codec.latent_channels, side, side)
    noise = [torch.randn(shape, generator=torch_generator(derive(place.spec.seed, "paint"))) for place in places]
    trimaps = [torch.from_numpy(trimap(place.mask, place.clean.foreground)) for place in places]
    asked = EditRequest(
        cleans=to_tensor([place.clean.image for place in places]),
        masks=mask_tensor([place.mask for place in places]),
        trimaps=torch.stack(trimaps).unsqueeze(1).float(),
        defect_labels=labels([place.spec.defect_type for place in places]),
        clean_labels=labels([CLEAN] * len(places)),
        strengths=torch.tensor([place.spec.strength for place in places]),
        noise=torch.stack(noise),
    )
    return moved(asked, model.codec.device)
