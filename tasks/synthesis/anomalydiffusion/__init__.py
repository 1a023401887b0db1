"""AnomalyDiffusion: few-shot anomalies from a frozen latent diffusion model (Hu et al., AAAI 2024, arXiv 2312.05767).

In: clean images with masks, and few real defects to learn an embedding from. Out: the clean images with a defect of
the wanted type inside the mask. The backbone is the embedded small one, trained here once for all systems that read
text, or a Stable-Diffusion-type one; neither learns anything more. The paper leaves the background as the decoder
gives it; the line pastes the clean pixels back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler

from tasks.contracts import CLEAN, Place
from tasks.diffusion import codec_training, pool, text_backbone
from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import mask_tensor, to_tensor
from tasks.diffusion.pretrained import prompt_of
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import lower_precision, moved
from tasks.params import Params
from tasks.params.systems import AnomalyDiffusionParams
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis.anomalydiffusion.embedding import AnomalyDenoiser
from tasks.synthesis.anomalydiffusion.sampler import BlendRequest, paint_blended
from tasks.synthesis.anomalydiffusion.training import fit_embedding, load_embedding
from tasks.synthesis.protocol import Painted, full_batches


@dataclass(frozen=True)
class Model:
    codec: Codec
    denoiser: AnomalyDenoiser
    schedule: DDPMScheduler
    table: LabelTable


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Make what is not there yet: codec, pseudo-masks where labels are per image, backbone; then the embedding."""
    codec_training.fit_codec(inputs, params, workdir, device, report)
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)
    text_backbone.fit_backbone(inputs, params, workdir, device, report)
    fit_embedding(inputs, params, workdir, device, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    denoiser, schedule, codec = load_embedding(inputs, params, workdir, device)
    return Model(codec, denoiser, schedule, pool.label_table(inputs))


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Latents (n, channels, h, w), painted in batches of `paint.batch_size`."""
    own, latents = params.of(AnomalyDiffusionParams), []
    for batch, count in full_batches(places, params.paint.batch_size):
        scene = _scene(model, batch)
        latents.append(paint_blended(model.denoiser, model.schedule, scene, own)[:count])
    # The words are the clean image's; what the defect is, the embedding says.
    prompts = [prompt_of(params.backbone.prompt, place.spec.category, CLEAN) for place in places]
    return Painted(torch.cat(latents), model.codec, prompts=prompts)


def _scene(model: Model, places: Sequence[Place]) -> BlendRequest:
    images = to_tensor([place.clean.image for place in places], model.codec.device)
    with torch.no_grad(), lower_precision(images.device):
        cleans = model.codec.encode(images).float()
    shape = cleans.shape[1:]
    noise = [torch.randn(shape, generator=torch_generator(derive(place.spec.seed, "paint"))) for place in places]
    labels = [model.table.index(place.spec.category, place.spec.defect_type) for place in places]
    masks = mask_tensor([place.mask for place in places], model.codec.device)
    scene = BlendRequest(
        cleans=cleans,
        masks=masks,
        labels=torch.tensor(labels),
        strengths=torch.tensor([place.spec.strength for place in places]),
        noise=torch.stack(noise),
        hole=model.denoiser.hole_in(model.codec, images, masks),
    )
    return moved(scene, model.codec.device)
