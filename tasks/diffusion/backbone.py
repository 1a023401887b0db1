"""Stable-Diffusion-type backbones by folder or hub name, through diffusers and transformers.

Only safetensors weights are read. The labels of a dataset become prompts, `paint.prompt` with the category and
the defect type put in; the U-Net stays frozen and a ControlNet on the trimap is trained.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tasks.contracts import CLEAN, DefectoryError
from tasks.diffusion.denoiser import PretrainedDenoiser
from tasks.diffusion.labels import LabelTable
from tasks.diffusion.schedule import training_schedule


def load_backbone(path: str, table: LabelTable, prompt: str) -> tuple[PretrainedDenoiser, DDPMScheduler]:
    """The denoiser with an untrained ControlNet, and the backbone's own noise schedule."""
    unet = _load(UNet2DConditionModel, path, "unet")
    schedule = training_schedule(dict(DDPMScheduler.load_config(path, subfolder="scheduler")))
    prompts = embed_prompts(path, [prompt_of(prompt, *pair) for pair in table.pairs] + [""])
    return PretrainedDenoiser(unet, prompts), schedule


def prompt_of(template: str, category: str, defect_type: str) -> str:
    """The prompt of a label; a clean one is the plain name of the category."""
    return f"a {category}" if defect_type == CLEAN else template.format(category=category, defect_type=defect_type)


@torch.no_grad()
def embed_prompts(path: str, prompts: list[str]) -> Tensor:
    """Text embeddings (prompts, tokens, width) by the backbone's own tokenizer and text encoder."""
    tokenizer = _load(CLIPTokenizer, path, "tokenizer")
    encoder = _load(CLIPTextModel, path, "text_encoder").eval()
    tokens = tokenizer(
        prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return encoder(tokens.input_ids).last_hidden_state


def _load(kind: Any, path: str, part: str) -> Any:
    options = {} if kind is CLIPTokenizer else {"use_safetensors": True}
    try:
        return kind.from_pretrained(path, subfolder=part, **options)
    except (OSError, ValueError) as error:
        raise DefectoryError(
            f"denoiser.path {path!r}: its {part} could not be loaded ({str(error).splitlines()[0]}); give a "
            "Stable-Diffusion-type pipeline folder with safetensors weights, or a hub name this machine can reach"
        ) from None
