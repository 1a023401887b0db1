"""AdaBLDM's two denoisers: the small one that is trained within a run, and a Stable-Diffusion-type U-Net by folder or
hub name, with a ControlNet that reads the trimap.

The labels of a dataset become prompts for the pretrained one, `paint.prompt` with the category and the defect type put
in; its U-Net stays frozen and the ControlNet is trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ControlNetModel, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.codec import Codec
from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable
from tasks.diffusion.pool import fit_on_pool, pool_sources
from tasks.diffusion.pretrained import PretrainedText, load_part, prompt_of
from tasks.diffusion.schedule import own_schedule, training_schedule
from tasks.files.names import DENOISER
from tasks.inputs.dataset import Inputs
from tasks.params import DenoiserParams, Params, fingerprint
from tasks.progress import Report
from tasks.seeds import derive
from tasks.training.closeup import CELL
from tasks.training.loop import load_product

_KEY = "denoiser.path"


def load_backbone(path: str, table: LabelTable, prompt: str, seed: int) -> tuple[PretrainedDenoiser, DDPMScheduler]:
    """The denoiser with an untrained ControlNet, whose new layers are drawn from `seed`, and its own noise schedule."""
    unet = load_part(UNet2DConditionModel, path, "unet", _KEY)
    prompts = PretrainedText(path, _KEY).embed([prompt_of(prompt, *pair) for pair in table.pairs] + [""])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PretrainedDenoiser(unet, prompts), own_schedule(path)


class EmbeddedDenoiser(Denoiser):
    """diffusers' UNet2DModel on latents; the trimap enters at full resolution, 64 of its pixels to a latent cell."""

    def __init__(self, latent_channels: int, label_count: int, channels: list[int]) -> None:
        super().__init__()
        self.empty_label = label_count
        plain, attending = len(channels) - 1, 1
        self.unet = UNet2DModel(
            in_channels=2 * latent_channels + 2 * CELL * CELL,
            out_channels=latent_channels,
            norm_num_groups=16,
            block_out_channels=tuple(channels),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attending,
            up_block_types=("AttnUpBlock2D",) * attending + ("UpBlock2D",) * plain,
            attention_head_dim=32,
            num_class_embeds=label_count + 1,
        )
        self.unet.to(memory_format=torch.channels_last)

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        defect = functional.pixel_unshuffle((condition.trimap == 1).to(noisy.dtype), CELL)
        object_ = functional.pixel_unshuffle((condition.trimap > 0).to(noisy.dtype), CELL)
        stacked = torch.cat([noisy, condition.surroundings, defect, object_], dim=1)
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        return self.unet(stacked, timesteps, class_labels=condition.labels).sample

    def trained_state(self) -> dict[str, Tensor]:
        return self.state_dict()


class PretrainedDenoiser(Denoiser):
    """A frozen Stable-Diffusion-type U-Net with a trainable ControlNet on the trimap; labels are prompts.

    As in AdaBLDM the U-Net reads the prompt and the ControlNet an empty text.
    """

    prompts: Tensor

    def __init__(self, unet: UNet2DConditionModel, prompts: Tensor) -> None:
        """`prompts`: text embeddings (labels + 1, tokens, width), the last one of the empty text."""
        super().__init__()
        self.empty_label = len(prompts) - 1
        self.unet = unet.requires_grad_(False)
        self.controlnet = ControlNetModel.from_unet(unet, conditioning_channels=3)
        self.register_buffer("prompts", prompts)

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        empty = self.prompts[self.empty_label].expand(len(noisy), -1, -1)
        down, middle = self.controlnet(
            noisy, timesteps, empty, controlnet_cond=condition.trimap.expand(-1, 3, -1, -1), return_dict=False
        )
        return self.unet(
            noisy,
            timesteps,
            self.prompts[condition.labels],
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    def trained_state(self) -> dict[str, Tensor]:
        """The ControlNet's weights; the rest is the backbone's."""
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("controlnet.")}


def build_embedded(params: DenoiserParams, latent_channels: int, label_count: int, seed: int) -> EmbeddedDenoiser:
    """A denoiser with weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedDenoiser(latent_channels, label_count, list(params.channels))


def fit_denoiser(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train AdaBLDM's denoiser on composites, real defects and clean images."""
    seed = derive(params.dataset.seed, "denoiser")
    made_from = fingerprint("denoiser 3", params.denoiser, params.paint.prompt, pool_sources(inputs, params, workdir))

    def new(codec: Codec, table: LabelTable) -> tuple[Denoiser, DDPMScheduler]:
        return _new_denoiser(codec, table, params, seed)

    fit_on_pool(inputs, params, params.denoiser, workdir / DENOISER, made_from, seed, new, device, report)


def _new_denoiser(codec: Codec, table: LabelTable, params: Params, seed: int) -> tuple[Denoiser, DDPMScheduler]:
    if params.denoiser.kind == "pretrained":
        return load_backbone(params.denoiser.path, table, params.paint.prompt, seed)
    return build_embedded(params.denoiser, codec.latent_channels, len(table), seed), training_schedule()


def load_fitted_denoiser(
    codec: Codec, table: LabelTable, params: Params, workdir: Path, device: torch.device
) -> tuple[Denoiser, DDPMScheduler]:
    """The trained denoiser and its schedule. Raises DefectoryError where `train` has not finished."""
    denoiser, schedule = _new_denoiser(codec, table, params, seed=0)
    load_product(denoiser, workdir / DENOISER)
    return denoiser.to(device), schedule
