"""Images to a grid of tokens and back: the two kinds of VQGAN behind one class.

The embedded kind is the dataset's codec with a codebook between encoder and decoder: what the codec has learned of
surfaces need not be learned again, and the first few hundred vectors already make a codebook of nearly 29 dB. The
pretrained kind is a folder or hub name of diffusers' `VQModel`, taken as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from torch import Tensor, nn

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import FACTOR, Codec
from tasks.files.tensors import read_safetensors
from tasks.networks.device import HOST, device_of
from tasks.synthesis.vq_transformer.quantiser import Quantiser

_DEPTH = 3.0
"""About the length of a latent vector: directions then tell as much of its length as of its direction."""
_SHALLOWEST = 1e-2


class ImageCodec(nn.Module, ABC):
    """Images (n, 3, h, w) in [-1, 1] to ids (n, h / factor, w / factor) in [0, codebook_size), and back."""

    factor: int
    codebook_size: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Ids of images."""

    @abstractmethod
    def decode(self, ids: Tensor) -> Tensor:
        """About [-1, 1], not clamped."""


class EmbeddedImageCodec(ImageCodec):
    """A codec whose latents are quantised; it stands where the codec does."""

    factor = FACTOR

    def __init__(self, codec: Codec, codebook_size: int) -> None:
        super().__init__()
        self.codec = codec
        self.codebook_size = codebook_size
        self.quantiser = Quantiser(codebook_size, codec.latent_channels + 1).to(device_of(codec))

    def vectors(self, images: Tensor) -> Tensor:
        """What is to be quantised: (n, latent_channels + 1, h / 8, w / 8)."""
        return lift(self.codec.encode(images))

    def rebuild(self, codes: Tensor) -> Tensor:
        """Codes (n, latent_channels + 1, h / 8, w / 8) to images."""
        return self.codec.decode(lower(codes))

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.codec.last_layer

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        ids: Tensor = self.quantiser(self.vectors(images)).ids
        return ids

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        return self.rebuild(self.quantiser.lookup(ids))


class PretrainedImageCodec(ImageCodec):
    """diffusers' VQModel."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network: Any = network
        self.factor = 2 ** (len(network.config.block_out_channels) - 1)
        self.codebook_size = network.config.num_vq_embeddings

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        latents = self.network.encode(images).latents
        ids: Tensor = self.network.quantize(latents)[2][2]
        return ids.view(len(latents), *latents.shape[2:])

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        codes = self.network.quantize.embedding(ids).movedim(-1, 1)
        spatial = codes if self.network.config.norm_type == "spatial" else None
        images: Tensor = self.network.decoder(self.network.post_quant_conv(codes), spatial)
        return images


def lift(latents: Tensor) -> Tensor:
    """Latents of unit variance (n, channels, h, w) to rays (n, channels + 1, h, w), whose directions tell all."""
    return torch.cat([latents, torch.full_like(latents[:, :1], _DEPTH)], dim=1)


def lower(rays: Tensor) -> Tensor:
    """The latents of rays of any length (the gnomonic projection): `lower(normalize(lift(z)))` is z."""
    return _DEPTH * rays[:, :-1] / rays[:, -1:].clamp_min(_SHALLOWEST)


def load_embedded(codec: Codec, codebook_size: int, path: Path) -> ImageCodec:
    """`codec` with the codebook, and the weights it was trained to with it. DefectoryError where there is no file."""
    made = EmbeddedImageCodec(codec, codebook_size)
    made.load_state_dict(read_safetensors(path))
    return made.requires_grad_(False).eval()


def load_pretrained(path: str, device: torch.device = HOST) -> ImageCodec:
    """diffusers' VQModel from a folder or hub name. Raises DefectoryError where there is none."""
    try:
        network = VQModel.from_pretrained(path, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DefectoryError(
            f"vq_transformer.codec.path {path!r}: no VQModel could be loaded from it ({str(error).splitlines()[0]}); "
            "give a folder with config.json and safetensors weights, or a hub name this machine can reach"
        ) from None
    return PretrainedImageCodec(network).requires_grad_(False).eval().to(device)
