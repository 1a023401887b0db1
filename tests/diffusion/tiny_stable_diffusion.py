"""A Stable-Diffusion-type pipeline folder with random weights: the real classes, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_WIDTH = 32


def save_tiny_pipeline(folder: Path) -> Path:
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=_WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    vocabulary = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
    tokens = vocabulary + [letter + "</w>" for letter in vocabulary] + ["<|startoftext|>", "<|endoftext|>"]
    words = folder / "words"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=_WIDTH,
            intermediate_size=_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=len(tokens) - 2,
            eos_token_id=len(tokens) - 1,
        )
    ).save_pretrained(folder / "text_encoder")
    return folder


def for_inpainting(folder: Path) -> Path:
    """The pipeline with a U-Net of nine channels in."""
    config = {**UNet2DConditionModel.load_config(folder / "unet"), "in_channels": 9}
    torch.manual_seed(1)
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


def parts_of(folder: Path) -> dict[str, Any]:
    """What a pipeline of diffusers is put together from."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    unet.register_to_config(sample_size=64)  # which the inpainting pipeline wants to know
    return {
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        "unet": unet,
        "scheduler": DDIMScheduler.from_pretrained(folder / "scheduler"),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
