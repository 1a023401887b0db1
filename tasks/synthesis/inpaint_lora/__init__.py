"""The few-shot inpainting painter: low-rank adaptation and low-fidelity selection (DefectFill, CVPR 2025).

In: the text backbone fitted to the dataset (or Stable Diffusion, for inpainting or for text) and few real defects with
masks or pseudo-masks. Out: clean images whose mask is filled with a defect of the wanted type. What is taken from
DefectFill is the loss (`tasks.synthesis.inpaint_lora.training`) and the selection
(`tasks.synthesis.inpaint_lora.low_fidelity`); from MAGIC (arXiv 2507.02314) the disturbed prompt, against a few-shot
model that gives the same defect for every seed. The chain starts from a real defect that Crop&Paste brings to the mask
(`start`): a small backbone keeps what it cannot invent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import CLEAN, DefectoryError, Place
from tasks.diffusion import codec_training, text_backbone
from tasks.diffusion.codec import Codec, decode_plain
from tasks.diffusion.codec_training import load_fitted_codec
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.latents import mask_tensor, to_tensor
from tasks.diffusion.pool import encode_pool, label_table, pool_images
from tasks.diffusion.pretrained import prompts_of
from tasks.diffusion.schedule import sampling_schedule
from tasks.files.hashing import file_sha256
from tasks.files.names import BACKBONE, CODEC, PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.files.tensors import read_safetensors
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import lower_precision, moved
from tasks.params import Params, fingerprint
from tasks.params.systems import InpaintLoraParams
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis import crop_paste
from tasks.synthesis.inpaint_lora.low_fidelity import LOOKS_NAMES, Looks, distances_inside, least_faithful
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone
from tasks.synthesis.inpaint_lora.sampler import Draw, FillRequest, fill_holes
from tasks.synthesis.inpaint_lora.training import DefectFillTrainer
from tasks.synthesis.protocol import Painted, full_batches
from tasks.training.loop import train_product

ADAPTERS = "inpaint_lora.safetensors"


@dataclass(frozen=True)
class Model:
    codec: Codec
    network: LowRankBackbone
    schedule: DDPMScheduler
    table: LabelTable
    looks: Looks
    cuts: crop_paste.Model
    """The real defects that exemplars are pasted from."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fit codec, pseudo-masks and backbone, then train one set of adapters and a token for each label."""
    codec_training.fit_codec(inputs, params, workdir, device, report)
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)
    text_backbone.fit_backbone(inputs, params, workdir, device, report)
    target, made_from = workdir / ADAPTERS, _made_from(inputs, params, workdir)
    if is_made(target, made_from):
        return
    network, schedule, codec = _untrained(inputs, params, workdir, device)
    table = label_table(inputs)
    defective = torch.tensor([defect_type != CLEAN for _, defect_type in table.pairs])
    training = params.of(InpaintLoraParams).training
    shown = pool_images(inputs, params, training, workdir, _seed(params), report)
    pool = encode_pool(codec, shown, table, report)
    images = torch.from_numpy(np.stack([item.image for item in shown])).permute(0, 3, 1, 2)
    trainer = DefectFillTrainer(network, schedule, codec, pool, images, training, defective, _seed(params))
    looks = Looks.of_pool(pool, len(table)).state()
    train_product(
        trainer, target, made_from, "training the painter", report, lambda: {**network.trained_state(), **looks}
    )


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    path = workdir / ADAPTERS
    weights = read_safetensors(path)
    network, schedule, codec = _untrained(inputs, params, workdir, device)
    own = network.trained_state()
    if weights.keys() != {*own, *LOOKS_NAMES} or any(weights[name].shape != own[name].shape for name in own):
        raise DefectoryError(f"{path}: made for another backbone or rank; run `defectory run` to train again")
    network.load_state_dict({name: weights[name] for name in own}, strict=False)
    network.fuse()
    cuts = crop_paste.load(inputs, params, workdir, device)
    looks = moved(Looks.from_state(weights), device)
    return Model(codec, network, schedule, label_table(inputs), looks, cuts)


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Latents (n, channels, h, w): of some candidates for each place the one least like the clean image."""
    latents, exemplars = [], []
    for batch, count in full_batches(places, params.paint.batch_size):
        started_from = _exemplars(model, batch, params)
        exemplars.append(started_from[:count])
        latents.append(_paint_batch(model, batch, started_from, params)[:count])
    followed = torch.cat(exemplars) if params.of(InpaintLoraParams).start < 1 else None
    prompts = prompts_of(params.backbone.prompt, places)
    return Painted(torch.cat(latents), model.codec, exemplars=followed, prompts=prompts)


def _paint_batch(model: Model, places: Sequence[Place], exemplars: Tensor, params: Params) -> Tensor:
    own = params.of(InpaintLoraParams)
    cleans = to_tensor([place.clean.image for place in places], exemplars.device)
    filling = filling_of(model, places, cleans, exemplars, own)
    sampler = sampling_schedule(model.schedule, own.scheduler, own.steps)
    candidates, distances, strangeness = [], [], []
    for number in range(own.candidates):
        draw = draw_of(model, places, filling, number, own)
        latents = fill_holes(model.network, model.schedule, sampler, filling, draw)
        candidates.append(latents)
        distances.append(distances_inside(decode_plain(model.codec, latents), cleans, filling.masks))
        strangeness.append(model.looks.strangeness(latents, filling.masks, filling.defect_labels))
    chosen = least_faithful(torch.stack(distances), torch.stack(strangeness))
    return torch.stack(candidates)[chosen, torch.arange(len(places), device=chosen.device)]


def _exemplars(model: Model, places: Sequence[Place], params: Params) -> Tensor:
    """A real defect in each place's mask, wholly covering, (n, 3, height, width) in [-1, 1]."""
    covering = [replace(place, spec=replace(place.spec, strength=1.0)) for place in places]
    images = crop_paste.paint(model.cuts, covering, params).images
    assert images is not None
    return images.to(model.codec.device)


def filling_of(
    model: Model, places: Sequence[Place], cleans: Tensor, exemplars: Tensor, own: InpaintLoraParams
) -> FillRequest:
    """What the places ask for; `cleans` and `exemplars` are images (n, 3, height, width) in [-1, 1]."""

    def labels(types: Sequence[str]) -> Tensor:
        return torch.tensor([model.table.index(p.spec.category, t) for p, t in zip(places, types, strict=True)])

    with torch.no_grad(), lower_precision(cleans.device):
        clean_latents = model.codec.encode(cleans).float()
        exemplar_latents = model.codec.encode(exemplars).float()
    masks = mask_tensor([place.mask for place in places], cleans.device)
    clean = labels([CLEAN] * len(places))
    asked = FillRequest(
        clean_latents=clean_latents,
        masks=masks,
        defect_labels=labels([place.spec.defect_type for place in places]),
        rival_labels=clean if own.guide_from == "clean" else torch.full_like(clean, model.network.empty_label),
        strengths=torch.tensor([place.spec.strength for place in places]),
        hole=model.network.backbone.hole_in(model.codec, cleans, masks),
        exemplars=exemplar_latents,
        start=own.start,
        guide_from=own.guide_from,
    )
    return moved(asked, cleans.device)


def draw_of(
    model: Model, places: Sequence[Place], filling: FillRequest, number: int, params: InpaintLoraParams
) -> Draw:
    """The randomness of the candidate `number` of each place: its seed's."""
    generators = [torch_generator(derive(place.spec.seed, f"candidate {number}")) for place in places]
    shape, words = filling.clean_latents.shape[1:], model.network.disturbance_shape
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    disturbance = torch.stack([torch.randn(words, generator=generator) for generator in generators])
    return moved(Draw(noise, params.training.prompt_noise * disturbance), model.codec.device)


def _untrained(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device
) -> tuple[LowRankBackbone, DDPMScheduler, Codec]:
    backbone = text_backbone.own_fitted_backbone(inputs, params, workdir, device)
    schedule, codec = text_backbone.schedule_of(params.backbone), load_fitted_codec(params, workdir, device)
    training = params.of(InpaintLoraParams).training
    table = label_table(inputs)
    network = LowRankBackbone(backbone, table, training.rank, training.convolutions, _seed(params))
    return network.to(device), schedule, codec


def _seed(params: Params) -> int:
    return derive(params.dataset.seed, "inpaint_lora")


def _made_from(inputs: Inputs, params: Params, workdir: Path) -> str:
    names = (CODEC, BACKBONE, PSEUDO_MASKS)
    files = {name: file_sha256(workdir / name) for name in names if (workdir / name).is_file()}
    dataset = [params.dataset.seed, params.dataset.threads, inputs.sha256, params.paint.close_up_cells]
    training = params.of(InpaintLoraParams).training
    return fingerprint("inpaint_lora 3", training, params.codec, params.backbone, params.masks, *dataset, files)
