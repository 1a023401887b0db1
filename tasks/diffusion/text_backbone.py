"""A latent diffusion model told by words, and where a part of the image is given, by the rest of it.

Two kinds behind one class. The embedded one is small and trained on the dataset's own train split: it learns the words
of categories and defect types as a large model learns all words, and paints whole images as well as holes in given
ones. The pretrained one is Stable Diffusion, for text (4 latent channels in) or for inpainting (9), by path or name.

The embedded one reads with a small text encoder: a vector a word and a vector a position, trained with the U-Net. Its
vocabulary is that of the dataset's own prompts. A word that is not in it is passed over, so a long description is read
for the words that the training images gave a meaning to.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from tasks.diffusion.codec import Codec
from tasks.diffusion.codec_training import load_fitted_codec
from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable
from tasks.diffusion.pool import fit_on_pool, label_table, pool_sources
from tasks.diffusion.pretrained import PretrainedText, load_part, prompt_of
from tasks.diffusion.schedule import own_schedule, training_schedule
from tasks.files.hashing import file_sha256
from tasks.files.names import BACKBONE
from tasks.inputs.dataset import Inputs
from tasks.networks.device import lower_precision, moved
from tasks.networks.sharing import SharedNetworks
from tasks.params import BackboneParams, Params, fingerprint
from tasks.progress import Report
from tasks.seeds import derive
from tasks.training.closeup import CELL
from tasks.training.loop import load_product

_KEY = "backbone.path"
_HEAD_WIDTH = 32

WIDTH = 64
_PADDING, _START = 0, 1
_LEAST_TOKENS = 8


@dataclass(frozen=True)
class Hole:
    """The part of n images that is to be painted, and the rest of them."""

    mask: Tensor
    """(n, 1, height, width) of 0 and 1; 1 is to be painted."""
    surroundings: Tensor
    """(n, channels, h, w): latents of the given image without the pixels of the mask."""

    def repeated(self, times: int) -> Hole:
        """The same places again behind these, for several predictions in one batch."""
        return Hole(self.mask.repeat(times, 1, 1, 1), self.surroundings.repeat(times, 1, 1, 1))


class TextBackbone(Denoiser):
    """`predict(noisy, timesteps, tokens, hole)`; as a Denoiser it takes the prompt of the condition's label."""

    unet: UNet2DConditionModel
    takes_holes: bool
    """Whether the U-Net was made for inpainting; without it a hole is not heard of, and the sampler alone blends."""
    prompts: list[str]
    """By label; the last one is empty."""

    @abstractmethod
    def tokens_of(self, prompts: Sequence[str]) -> Tensor:
        """What the cross-attentions are given for the prompts: (prompts, tokens, width)."""

    @abstractmethod
    def place_of(self, prompt: str, word: str) -> list[int]:
        """The tokens of `prompt` that stand for `word`; empty where it is not in it."""

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, hole: Hole | None = None) -> Tensor:
        """The prediction of the backbone's schedule for latents (n, channels, h, w); no hole: the whole image."""

    @abstractmethod
    def pixels_of(self, masks: Tensor) -> Tensor:
        """The pixels of a hole for masks (n, 1, height, width), as finely as the U-Net is told of it."""

    def hole_pixels(self, masks: Tensor) -> Tensor | None:
        return self.pixels_of(masks) if self.takes_holes else None

    @torch.no_grad()
    def hole_in(self, codec: Codec, images: Tensor, masks: Tensor) -> Hole | None:
        """The masks as a hole in images (n, 3, height, width), whose pixels are grey before the rest is encoded; None
        for a backbone that takes none. What the mask says and what is missing so are the same pixels."""
        pixels = self.hole_pixels(masks)
        if pixels is None:
            return None
        with lower_precision(images.device):
            return Hole(pixels, codec.encode(images * (1 - pixels)).float())

    @property
    def width(self) -> int:
        """Of a token."""
        return int(self.unet.config.cross_attention_dim)

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        pixels = self.hole_pixels((condition.trimap == 1).to(noisy.dtype))
        hole = None if pixels is None else Hole(pixels, condition.surroundings)
        return self.predict(noisy, timesteps, self.tokens_of(self.prompts)[condition.labels], hole)


class EmbeddedBackbone(TextBackbone):
    """diffusers' UNet2DConditionModel, small, on our latents and our words; the mask enters 64 pixels to a cell."""

    takes_holes = True

    def __init__(self, latent_channels: int, channels: list[int], prompts: Sequence[str]) -> None:
        super().__init__()
        self.prompts = [*prompts, ""]
        self.empty_label = len(prompts)
        self.words = WordEncoder(prompts)
        attending = len(channels) - 1
        self.unet = UNet2DConditionModel(
            in_channels=2 * latent_channels + CELL * CELL,
            out_channels=latent_channels,
            norm_num_groups=16,
            block_out_channels=tuple(channels),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * attending,
            up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",),
            attention_head_dim=tuple(width // _HEAD_WIDTH for width in channels),
            cross_attention_dim=self.words.width,
        )
        self.unet.to(memory_format=torch.channels_last)

    def tokens_of(self, prompts: Sequence[str]) -> Tensor:
        return self.words(prompts)

    def place_of(self, prompt: str, word: str) -> list[int]:
        return self.words.place_of(prompt, word)

    def pixels_of(self, masks: Tensor) -> Tensor:
        return masks

    def predict(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, hole: Hole | None = None) -> Tensor:
        count, _, height, width = noisy.shape
        if hole is None:
            hole = Hole(noisy.new_ones(count, 1, height * CELL, width * CELL), torch.zeros_like(noisy))
        cells = functional.pixel_unshuffle(hole.mask.to(noisy.dtype), CELL)
        stacked = torch.cat([noisy, hole.surroundings, cells], dim=1).contiguous(memory_format=torch.channels_last)
        return self.unet(stacked, timesteps, tokens).sample

    def trained_state(self) -> dict[str, Tensor]:
        return self.state_dict()


class PretrainedBackbone(TextBackbone):
    """A frozen Stable-Diffusion-type U-Net with its own tokenizer and text encoder."""

    def __init__(self, path: str, prompts: Sequence[str]) -> None:
        super().__init__()
        self.prompts = [*prompts, ""]
        self.empty_label = len(prompts)
        self.unet = load_part(UNet2DConditionModel, path, "unet", _KEY).requires_grad_(False)
        self.takes_holes = self.unet.config.in_channels == 2 * self.unet.config.out_channels + 1
        self.text = PretrainedText(path, _KEY)

    def tokens_of(self, prompts: Sequence[str]) -> Tensor:
        return self.text.embed(prompts)

    def place_of(self, prompt: str, word: str) -> list[int]:
        return self.text.place_of(prompt, word)

    def pixels_of(self, masks: Tensor) -> Tensor:
        """Those of all cells that the mask touches: the U-Net is told of cells."""
        cells = functional.max_pool2d(masks, CELL)
        return cells.repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)

    def predict(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, hole: Hole | None = None) -> Tensor:
        if self.takes_holes:
            assert hole is not None, "a U-Net made for inpainting is told what to paint, if it is the whole image"
            cells = functional.max_pool2d(hole.mask.to(noisy.dtype), CELL)
            noisy = torch.cat([noisy, cells, hole.surroundings], dim=1)
        return self.unet(noisy, timesteps, tokens).sample

    def trained_state(self) -> dict[str, Tensor]:
        """Nothing: the backbone is taken as it is."""
        return {}


def new_backbone(
    params: BackboneParams, latent_channels: int, table: LabelTable, seed: int
) -> tuple[TextBackbone, DDPMScheduler]:
    """The backbone that params name and its noise schedule; an embedded one with weights drawn from `seed`."""
    prompts = [prompt_of(params.prompt, *pair) for pair in table.pairs]
    if params.kind == "pretrained":
        return PretrainedBackbone(params.path, prompts), schedule_of(params)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedBackbone(latent_channels, list(params.channels), prompts), schedule_of(params)


def schedule_of(params: BackboneParams) -> DDPMScheduler:
    return own_schedule(params.path) if params.kind == "pretrained" else training_schedule()


def words_of(prompt: str) -> list[str]:
    """Lower-case words and numbers; `broken_large` is two words."""
    return re.findall(r"[a-z0-9]+", prompt.lower())


class WordEncoder(nn.Module):
    """Prompts to tokens (prompts, tokens, width)."""

    def __init__(self, prompts: Sequence[str], width: int = WIDTH) -> None:
        super().__init__()
        vocabulary = sorted({word for prompt in prompts for word in words_of(prompt)})
        self.index = {word: number + 2 for number, word in enumerate(vocabulary)}
        self.width = width
        self.length = max([_LEAST_TOKENS, *(len(words_of(prompt)) + 1 for prompt in prompts)])
        self.word = nn.Embedding(len(vocabulary) + 2, width)
        self.position = nn.Embedding(self.length, width)

    def known(self, prompt: str) -> list[str]:
        """The prompt's words that are in the vocabulary, as many as there are tokens for."""
        return [word for word in words_of(prompt) if word in self.index][: self.length - 1]

    def forward(self, prompts: Sequence[str]) -> Tensor:
        rows = torch.tensor([self._ids(prompt) for prompt in prompts], dtype=torch.long).view(len(prompts), self.length)
        return self.word(moved(rows, self.word.weight.device)) + self.position.weight

    def _ids(self, prompt: str) -> list[int]:
        ids = [_START, *(self.index[word] for word in self.known(prompt))]
        return ids + [_PADDING] * (self.length - len(ids))

    def place_of(self, prompt: str, word: str) -> list[int]:
        """The tokens that stand for the words of `word`, where they are known and in the prompt."""
        wanted = set(words_of(word))
        return [number + 1 for number, known in enumerate(self.known(prompt)) if known in wanted]


def fit_backbone(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train the embedded text backbone on the same images; a pretrained one is taken as it is."""
    if params.backbone.kind == "pretrained":
        return
    seed = derive(params.dataset.seed, "backbone")
    made_from = fingerprint("backbone 2", params.backbone, pool_sources(inputs, params, workdir))

    def new(codec: Codec, table: LabelTable) -> tuple[Denoiser, DDPMScheduler]:
        return new_backbone(params.backbone, codec.latent_channels, table, seed)

    fit_on_pool(inputs, params, params.backbone, workdir / BACKBONE, made_from, seed, new, device, report)


_BACKBONES: SharedNetworks[TextBackbone] = SharedNetworks()


def load_fitted_backbone(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device
) -> tuple[TextBackbone, DDPMScheduler, Codec]:
    """The text backbone, its schedule and the codec: one copy for all who hold them, which nobody may change.

    Raises DefectoryError where `train` has not finished.
    """
    path = workdir / BACKBONE
    weights = file_sha256(path) if params.backbone.kind == "embedded" and path.is_file() else ""
    made_from = fingerprint(params.backbone, label_table(inputs).pairs, str(path), weights, str(device))
    backbone = _BACKBONES.get(made_from, lambda: own_fitted_backbone(inputs, params, workdir, device))
    return backbone, schedule_of(params.backbone), load_fitted_codec(params, workdir, device)


def own_fitted_backbone(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> TextBackbone:
    """A copy to be changed. Raises DefectoryError where `train` has not finished."""
    codec, table = load_fitted_codec(params, workdir, device), label_table(inputs)
    backbone, _ = new_backbone(params.backbone, codec.latent_channels, table, seed=0)
    if params.backbone.kind == "embedded":
        load_product(backbone, workdir / BACKBONE)
    return backbone.requires_grad_(False).eval().to(device)
