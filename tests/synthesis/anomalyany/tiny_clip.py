"""A CLIP folder with random weights: the real classes, small."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

SIDE = 32


def save_tiny_clip(folder: Path) -> Path:
    torch.manual_seed(3)
    tokenizer = CLIPTokenizer.from_pretrained(save_tiny_pipeline(folder / "pipeline") / "tokenizer")
    layers = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**layers, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "eos_token_id": len(tokenizer) - 1}
    vision = {**layers, "image_size": SIDE, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    size = {"shortest_edge": SIDE}
    CLIPProcessor(CLIPImageProcessor(size=size, crop_size=SIDE), tokenizer).save_pretrained(folder)
    return folder
