"""Pipelines of the full architecture of Stable Diffusion 1.5 with random weights, made from its configuration alone.

Nothing is downloaded. Speed and memory are those of the real weights; what such networks paint is noise. Weights are
drawn on the device, since a processor takes minutes for a billion of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

_LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
_LENGTH = 77
"""Tokens of a prompt."""


@dataclass(frozen=True)
class Architecture:
    """Configurations of the parts, as the classes of diffusers and transformers take them."""

    unet: dict[str, Any]
    autoencoder: dict[str, Any]
    text: dict[str, Any]
    clip_text: dict[str, Any]
    clip_vision: dict[str, Any]
    vocabulary: int


FULL = Architecture(
    unet={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    },
    autoencoder={"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
    text={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    clip_text={"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
    clip_vision={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    vocabulary=49408,
)
"""Stable Diffusion 1.5, and CLIP ViT-B/32 beside it."""

TINY = Architecture(
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    autoencoder={"block_out_channels": (32, 32, 32, 32), "norm_num_groups": 8, "sample_size": 64},
    text={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    clip_text={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    clip_vision={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    vocabulary=100,
)
"""The same classes, small."""


def write_pipelines(folder: Path, architecture: Architecture, device: torch.device) -> Path:
    """`text` (4 latent channels in) and `inpainting` (9), which share all but the U-Net, and `clip`."""
    text, inpainting = folder / "text", folder / "inpainting"
    new_unet(architecture, 4, device).save_pretrained(text / "unet")
    new_unet(architecture, 9, device).save_pretrained(inpainting / "unet")
    new_autoencoder(architecture, device).save_pretrained(text / "vae")
    tokenizer = _tokenizer(text, architecture.vocabulary)
    tokenizer.save_pretrained(text / "tokenizer")
    configuration = CLIPTextConfig(**architecture.text, **_tokens(architecture))
    _drawn(lambda: CLIPTextModel(configuration), device).save_pretrained(text / "text_encoder")
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.save_pretrained(text / "scheduler")
    for part in ("vae", "tokenizer", "text_encoder", "scheduler"):
        (inpainting / part).symlink_to(text.absolute() / part, target_is_directory=True)
    _write_clip(folder / "clip", architecture, tokenizer, device)
    return folder


def new_unet(architecture: Architecture, channels_in: int, device: torch.device) -> UNet2DConditionModel:
    return _drawn(lambda: UNet2DConditionModel(in_channels=channels_in, out_channels=4, **architecture.unet), device)


def new_autoencoder(architecture: Architecture, device: torch.device) -> AutoencoderKL:
    def new() -> AutoencoderKL:
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            scaling_factor=0.18215,
            **architecture.autoencoder,
        )

    return _drawn(new, device)


def _write_clip(folder: Path, architecture: Architecture, tokenizer: CLIPTokenizer, device: torch.device) -> None:
    text = {**architecture.clip_text, **_tokens(architecture)}
    configuration = CLIPConfig(text_config=text, vision_config={**architecture.clip_vision, "image_size": 224})
    _drawn(lambda: CLIPModel(configuration), device).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


def _tokens(architecture: Architecture) -> dict[str, int]:
    last = architecture.vocabulary - 1
    return {
        "vocab_size": last + 1,
        "bos_token_id": last - 1,
        "eos_token_id": last,
        "pad_token_id": last,
        "max_position_embeddings": _LENGTH,
    }


def _tokenizer(folder: Path, size: int) -> CLIPTokenizer:
    """Reads letter by letter; the rest of the vocabulary is words that nobody writes."""
    known = _LETTERS + [f"{letter}</w>" for letter in _LETTERS]
    unused = [f"unused{number}</w>" for number in range(size - len(known) - 2)]
    tokens = [*known, *unused, "<|startoftext|>", "<|endoftext|>"]
    words = folder / "words"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=_LENGTH)


def _drawn(new: Callable[[], Any], device: torch.device) -> Any:
    """A network without weights, brought to the device and given random ones there."""
    with torch.device("meta"):
        network: nn.Module = new()
    network.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in network.named_parameters():
        _draw(name, parameter.data, generator)
    return network.requires_grad_(False).eval()


def _draw(name: str, weights: torch.Tensor, generator: torch.Generator) -> None:
    """Of such a size that what comes in is about as large as what goes out, whatever the layer."""
    if weights.ndim > 1:
        weights.normal_(0, weights[0].numel() ** -0.5, generator=generator)
    else:
        weights.fill_(float(name.endswith("weight")))
