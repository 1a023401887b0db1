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

from tasks.adaptation import adapt
from tasks.contracts import CLEAN, Image, InputImage, Mask, SampleSpec
from tasks.diffusion import fitting
from tasks.diffusion.blending import mask_tensor, paste, to_images
from tasks.diffusion.codec import Codec
from tasks.diffusion.codec_training import to_tensor
from tasks.diffusion.denoiser import Denoiser
from tasks.diffusion.labels import LabelTable
from tasks.diffusion.sampler import Edit, paint_latents
from tasks.inputs.store import Inputs
from tasks.masks.trimap import trimap
from tasks.params import Params
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis.protocol import Painted


@dataclass(frozen=True)
class Model:
    codec: Codec
    denoiser: Denoiser
    schedule: DDPMScheduler
    table: LabelTable
    sha256: str


def fit(inputs: Inputs, params: Params, workdir: Path, report: Report) -> None:
    """Fine-tune the codec on the train split, make pseudo-masks where labels are per image, train the denoiser."""
    fitting.fit_codec(inputs, params, workdir, report)
    fitting.fit_pseudo_masks(inputs, params, workdir, report)
    fitting.fit_denoiser(inputs, params, workdir, report)


def load(inputs: Inputs, params: Params, workdir: Path) -> Model:
    codec = fitting.load_fitted_codec(params, workdir)
    table = fitting.label_table(inputs)
    denoiser, schedule = fitting.load_fitted_denoiser(codec, table, params, workdir)
    return Model(codec, denoiser, schedule, table, fitting.model_sha256(workdir))


def paint(
    model: Model, specs: Sequence[SampleSpec], cleans: Sequence[InputImage], masks: Sequence[Mask], params: Params
) -> Painted:
    """Latents (n, channels, h, w). Batches hold `paint.batch_size` places; a last short one is filled up by repeating.

    The batch's shape so is always the same, and with it the order of floating-point sums.
    """
    size = params.paint.batch_size
    latents = []
    for start in range(0, len(specs), size):
        places = [min(start + offset, len(specs) - 1) for offset in range(size)]
        edit = _edit(model, [specs[i] for i in places], [cleans[i] for i in places], [masks[i] for i in places])
        painted = paint_latents(model.denoiser, model.codec, model.schedule, edit, params.paint)
        latents.append(painted[: len(specs) - start])
    return Painted(torch.cat(latents), None)


def _edit(model: Model, specs: list[SampleSpec], cleans: list[InputImage], masks: list[Mask]) -> Edit:
    def labels(types: Sequence[str]) -> Tensor:
        return torch.tensor([model.table.index(s.category, t) for s, t in zip(specs, types, strict=True)])

    side = len(masks[0]) // 8
    shape = (model.codec.latent_channels, side, side)
    noise = [torch.randn(shape, generator=torch_generator(derive(spec.seed, "paint"))) for spec in specs]
    trimaps = [torch.from_numpy(trimap(m, clean.foreground)) for m, clean in zip(masks, cleans, strict=True)]
    return Edit(
        cleans=to_tensor([clean.image for clean in cleans]),
        masks=mask_tensor(masks),
        trimaps=torch.stack(trimaps).unsqueeze(1).float(),
        defect_labels=labels([spec.defect_type for spec in specs]),
        clean_labels=labels([CLEAN] * len(specs)),
        strengths=torch.tensor([spec.strength for spec in specs]),
        noise=torch.stack(noise),
    )


def finish(
    model: Model, painted: Painted, cleans: Sequence[InputImage], masks: Sequence[Mask], params: Params
) -> list[Image]:
    """Adapt the decoder and paste with a feather; beyond its ring the clean pixels stay, bit for bit."""
    assert painted.latents is not None
    originals = to_tensor([clean.image for clean in cleans])
    decoded = adapt(model.codec, painted.latents, originals, mask_tensor(masks), params.adapt)
    return [
        paste(image, clean.image, mask, params.adapt.feather)
        for image, clean, mask in zip(to_images(decoded), cleans, masks, strict=True)
    ]
