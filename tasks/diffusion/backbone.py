"""AdaBLDM's pretrained denoiser: a Stable-Diffusion-type U-Net by folder or hub name, with a ControlNet to be trained.

The labels of a dataset become prompts, `paint.prompt` with the category and the defect type put in; the U-Net stays
frozen and a ControlNet on the trimap is trained.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from tasks.diffusion.denoiser import PretrainedDenoiser
from tasks.diffusion.labels import LabelTable
from tasks.diffusion.pretrained import PretrainedText, load_part, prompt_of
from tasks.diffusion.schedule import training_schedule

_KEY = "denoiser.path"


def load_backbone(path: str, table: LabelTable, prompt: str, seed: int) -> tuple[PretrainedDenoiser, DDPMScheduler]:
    """The denoiser with an untrained ControlNet, whose new layers are drawn from `seed`, and its own noise schedule."""
    unet = load_part(UNet2DConditionModel, path, "unet", _KEY)
    prompts = PretrainedText(path, _KEY).embed([prompt_of(prompt, *pair) for pair in table.pairs] + [""])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PretrainedDenoiser(unet, prompts), own_schedule(path)


def own_schedule(path: str) -> DDPMScheduler:
    """The noise schedule that a pipeline was trained on."""
    return training_schedule(dict(DDPMScheduler.load_config(path, subfolder="scheduler")))
