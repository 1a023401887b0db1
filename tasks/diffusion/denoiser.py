"""The conditional denoiser, behind one call: `denoiser(noisy, timesteps, condition) -> prediction`.

The condition is the trimap (1 on the defect, 0.5 on the rest of the object, 0 on the background: AdaBLDM,
arXiv 2402.19330), the clean surroundings of the mask, and a label: one for each category and defect type, clean
included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from diffusers import ControlNetModel, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional

from tasks.contracts import CLEAN, DefectoryError
from tasks.diffusion.latents import cells_of
from tasks.params import DenoiserParams
from tasks.training.closeup import CELL


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told about each of n images."""

    trimap: Tensor
    """(n, 1, height, width) with the values 0, 0.5 and 1."""
    surroundings: Tensor
    """(n, channels, h, w): latents of the clean image, 0 in the cells to be painted."""
    labels: Tensor
    """(n,) indices; the last index of the table is the empty label."""

    def without_defect(self, clean_labels: Tensor) -> Condition:
        """The same place with nothing to paint: the trimap without its 1, and the clean label."""
        return replace(self, trimap=self.trimap.clamp_max(0.5), labels=clean_labels)

    def join(self, other: Condition) -> Condition:
        return Condition(
            torch.cat([self.trimap, other.trimap]),
            torch.cat([self.surroundings, other.surroundings]),
            torch.cat([self.labels, other.labels]),
        )


def make_condition(latents: Tensor, trimap: Tensor, labels: Tensor, reach: int = 1) -> Condition:
    """A condition whose surroundings are `latents` outside of the cells that the trimap's defect touches."""
    cells = cells_of((trimap == 1).float(), reach)
    return Condition(trimap, latents * (1 - cells), labels)


class Denoiser(nn.Module, ABC):
    """What is trained on, and painted with, a Condition."""

    empty_label: int

    @abstractmethod
    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The prediction, of the shape of `noisy` (n, channels, h, w); `timesteps` (n,)."""

    @abstractmethod
    def trained_state(self) -> dict[str, Tensor]:
        """The part of the state that training makes, and that is worth a file."""


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


@dataclass(frozen=True)
class LabelTable:
    """Pairs (category, defect type) in sorted order; a pair's place is its label."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> LabelTable:
        """The table of the given pairs; every category gets its clean label."""
        given = set(pairs)
        return cls(tuple(sorted(given | {(category, CLEAN) for category, _ in given})))

    def index(self, category: str, defect_type: str) -> int:
        try:
            return self.pairs.index((category, defect_type))
        except ValueError:
            raise DefectoryError(
                f"the model was not trained on {category}/{defect_type}; "
                f"it knows {', '.join('/'.join(pair) for pair in self.pairs)}; train again with these inputs"
            ) from None

    def __len__(self) -> int:
        return len(self.pairs)
