"""AnomalyAny: unseen anomalies from a text, painted with a diffusion model as it is (Sun et al., arXiv 2406.01078).

In: clean images with masks, and for every defect type a prompt and a detailed description. Out: latents with such a
defect inside the mask. Nothing is trained on the defects to be painted where the backbone and the text-image model are
pretrained ones. The embedded ones learn what their words mean on the train split, and can paint what it shows.

The paper takes its label from the attention map; here the mask is given and the change inside it is measured.
`attention_guidance.attention_label` is the paper's way, for maps without a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import CLEAN, Place
from tasks.diffusion import codec_training, text_backbone
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import cells_of, mask_tensor, to_tensor
from tasks.diffusion.pretrained import prompt_of, prompts_of
from tasks.diffusion.text_backbone import TextBackbone
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import lower_precision, moved
from tasks.params import Params
from tasks.params.systems import AnomalyAnyParams
from tasks.progress import Report
from tasks.seeds import derive, torch_generator
from tasks.synthesis.anomalyany.attention_guidance import words_in
from tasks.synthesis.anomalyany.descriptions import Descriptions, fit_descriptions, load_descriptions
from tasks.synthesis.anomalyany.guided_edit import GuidedEditRequest, GuidedPainter
from tasks.synthesis.anomalyany.normal_conditioning import Chain
from tasks.synthesis.anomalyany.text_image import TextImage
from tasks.synthesis.anomalyany.text_image_training import fit_text_image, load_text_image
from tasks.synthesis.protocol import Painted, full_batches


@dataclass(frozen=True)
class Model:
    backbone: TextBackbone
    schedule: DDPMScheduler
    codec: Codec
    text_image: TextImage
    descriptions: Descriptions


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Write down the descriptions, and train what of codec, backbone and text-image model is not pretrained."""
    descriptions = fit_descriptions(inputs, params.of(AnomalyAnyParams).descriptions, workdir)
    codec_training.fit_codec(inputs, params, workdir, device, report)
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)
    text_backbone.fit_backbone(inputs, params, workdir, device, report)
    fit_text_image(inputs, params, descriptions, workdir, device, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    """Raises DefectoryError, too, for a defect type whose name the backbone does not know."""
    descriptions = load_descriptions(workdir)
    backbone, schedule, codec = text_backbone.load_fitted_backbone(inputs, params, workdir, device)
    types = [(category, kind) for category, kinds in descriptions.items() for kind in kinds if kind != CLEAN]
    words_in(backbone, [prompt_of(params.backbone.prompt, *pair) for pair in types], [_name(kind) for _, kind in types])
    text_image = load_text_image(inputs, params, descriptions, workdir, device)
    return Model(backbone, schedule, codec, text_image, descriptions)


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Latents (n, channels, h, w), painted in batches of `paint.batch_size`."""
    painter = GuidedPainter(model.backbone, model.codec, model.text_image, params.of(AnomalyAnyParams))
    latents = []
    for batch, count in full_batches(places, params.paint.batch_size):
        *_, last = painter.steps(edit_of(model, batch, params))
        latents.append(last[:count])
    prompts = prompts_of(params.backbone.prompt, places)
    return Painted(torch.cat(latents), model.codec, prompts=prompts)


@torch.no_grad()
def edit_of(model: Model, places: Sequence[Place], params: Params) -> GuidedEditRequest:
    """What is to be painted at the places."""
    kinds = [(place.spec.category, place.spec.defect_type) for place in places]
    prompts = prompts_of(params.backbone.prompt, places)
    cleans = [prompt_of(params.backbone.prompt, category, CLEAN) for category, _ in kinds]
    descriptions = [model.descriptions[category][kind] for category, kind in kinds]
    masks = mask_tensor([place.mask for place in places], model.codec.device)
    images = to_tensor([place.clean.image for place in places], masks.device)
    own = params.of(AnomalyAnyParams)
    rivals = cleans if own.guide_from == "clean" else [""] * len(places)
    chain = _chain(model, places, images, masks, own.steps)
    return GuidedEditRequest(
        chain=chain,
        masks=masks,
        hole=model.backbone.hole_in(model.codec, images, masks),
        words=words_in(model.backbone, prompts, [_name(kind) for _, kind in kinds]),
        tokens=model.backbone.tokens_of(prompts),
        clean_tokens=model.backbone.tokens_of(cleans),
        rival_tokens=model.backbone.tokens_of(rivals),
        detailed_tokens=model.backbone.tokens_of(descriptions),
        described=model.text_image.of_texts(descriptions),
    )


def _chain(model: Model, places: Sequence[Place], images: Tensor, masks: Tensor, steps: int) -> Chain:
    with lower_precision(images.device):
        clean = model.codec.encode(images).float()
    noise = [torch.randn(clean.shape[1:], generator=torch_generator(derive(p.spec.seed, "paint"))) for p in places]
    strengths = torch.tensor([place.spec.strength for place in places], device=masks.device)
    return Chain(model.schedule, clean, cells_of(masks), moved(torch.stack(noise), masks.device), strengths, steps)


def _name(defect_type: str) -> str:
    """As a prompt has it."""
    return defect_type.replace("_", " ")
