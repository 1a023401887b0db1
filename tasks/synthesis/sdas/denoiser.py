"""Diffusion models of clean images, behind one call: `denoiser(noisy, timesteps, categories) -> prediction`.

They know no defects, only categories: what RealNet's SDAS (arXiv 2403.05897) samples from. One model serves all
categories of a dataset, in pixels (n, 3, height, width) or in a codec's latents. Three kinds: the embedded one,
trained here; a pipeline's UNet2DModel, trained on here; a Stable-Diffusion-type U-Net, taken as it is. RealNet's
classifier guidance is left out: each denoiser is told the category.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from tasks.contracts import CLEAN, DefectoryError
from tasks.diffusion.pretrained import PretrainedText, load_part, prompt_of
from tasks.diffusion.schedule import own_schedule, training_schedule
from tasks.params.systems import SdasModelParams

PIXEL_CHANNELS = 3
_KEY = "sdas.model.path"
_UNSHUFFLE = 2
"""Of pixels, before the first convolution: those at full resolution cost more than all others together."""


class CleanDenoiser(nn.Module, ABC):
    """A denoiser of clean images that is told their category."""

    @abstractmethod
    def forward(self, noisy: Tensor, timesteps: Tensor, categories: Tensor) -> Tensor:
        """The prediction, of the shape of `noisy` (n, channels, h, w); `timesteps` and `categories` are (n,)."""

    def trained_state(self) -> dict[str, Tensor]:
        """The part of the state that training makes, and that is worth a file."""
        return self.state_dict()


class EmbeddedCleanDenoiser(CleanDenoiser):
    """diffusers' UNet2DModel, small; pixels are unshuffled on the way in and out."""

    def __init__(self, channels: int, category_count: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.factor = _UNSHUFFLE if channels == PIXEL_CHANNELS else 1
        plain = len(widths) - 1
        self.unet = UNet2DModel(
            in_channels=channels * self.factor**2,
            out_channels=channels * self.factor**2,
            norm_num_groups=16,
            block_out_channels=tuple(widths),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
            attention_head_dim=32,
            num_class_embeds=category_count,
        )
        self.unet.to(memory_format=torch.channels_last)

    def forward(self, noisy: Tensor, timesteps: Tensor, categories: Tensor) -> Tensor:
        small = functional.pixel_unshuffle(noisy, self.factor).contiguous(memory_format=torch.channels_last)
        return functional.pixel_shuffle(self.unet(small, timesteps, class_labels=categories).sample, self.factor)


class PretrainedCleanDenoiser(CleanDenoiser):
    """A pipeline's UNet2DModel (DDPM, ADM) with a new table of categories, to be trained on in full.

    The table begins at 0, so that the model begins as what it was without labels. Where it predicts a variance, too
    (ADM), that half of its output is left out: SDAS takes the fixed one here.
    """

    def __init__(self, unet: UNet2DModel, category_count: int) -> None:
        super().__init__()
        self.unet = unet
        self.unet.class_embedding = nn.Embedding(category_count, unet.time_embedding.linear_2.out_features)
        nn.init.zeros_(self.unet.class_embedding.weight)

    def forward(self, noisy: Tensor, timesteps: Tensor, categories: Tensor) -> Tensor:
        return self.unet(noisy, timesteps, class_labels=categories).sample[:, : noisy.shape[1]]


class PromptedCleanDenoiser(CleanDenoiser):
    """A Stable-Diffusion-type U-Net as it is; a category is the prompt 'a {category}'."""

    prompts: Tensor

    def __init__(self, unet: UNet2DConditionModel, prompts: Tensor) -> None:
        """`prompts`: text embeddings (categories, tokens, width)."""
        super().__init__()
        self.unet = unet.requires_grad_(False)
        self.register_buffer("prompts", prompts)

    def forward(self, noisy: Tensor, timesteps: Tensor, categories: Tensor) -> Tensor:
        return self.unet(noisy, timesteps, self.prompts[categories]).sample

    def trained_state(self) -> dict[str, Tensor]:
        return {}


def new_clean_denoiser(
    params: SdasModelParams, channels: int, categories: Sequence[str], seed: int
) -> tuple[CleanDenoiser, DDPMScheduler]:
    """The denoiser that params name, of images with so many channels, and its schedule; random weights by `seed`."""
    if params.kind == "pretrained":
        return _load_pretrained(params.path, channels, categories), own_schedule(params.path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedCleanDenoiser(channels, len(categories), params.channels), training_schedule()


def _load_pretrained(path: str, channels: int, categories: Sequence[str]) -> CleanDenoiser:
    kind = UNet2DConditionModel if _is_prompted(path) else UNet2DModel
    unet = load_part(kind, path, "unet", _KEY)
    if unet.config.in_channels != channels:
        raise DefectoryError(
            f"{_KEY} {path!r}: its U-Net takes {unet.config.in_channels} channels, the images here have {channels}; "
            "sdas.model.space is 'pixel' for a U-Net of 3 channels, else 'latent', with the codec it was made for"
        )
    if kind is UNet2DModel:
        return PretrainedCleanDenoiser(unet, len(categories))
    prompts = [prompt_of("", category, CLEAN) for category in categories]
    return PromptedCleanDenoiser(unet, PretrainedText(path, _KEY).embed(prompts))


def _is_prompted(path: str) -> bool:
    try:
        config = UNet2DModel.load_config(path, subfolder="unet")
    except (OSError, ValueError):
        return False  # loading says what is wrong
    return str(config["_class_name"]) == UNet2DConditionModel.__name__
