"""Images to a grid of tokens and back: the two kinds of VQGAN behind one class.

The embedded kind is this project's codec with a codebook between encoder and decoder (see `vqgan_training`): what the
codec has learned of surfaces need not be learned again. The pretrained kind is a folder or hub name of diffusers'
`VQModel`, taken as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from torch import Tensor, nn

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import FACTOR, Codec, EmbeddedCodec, read_safetensors
from tasks.system_params import VQTransformerParams
from tasks.tokens.quantiser import Quantised, Quantiser


class ImageCodec(nn.Module):
    """Images (n, 3, h, w) in [-1, 1] to ids (n, h / factor, w / factor) in [0, codebook_size), and back."""

    factor: int
    codebook_size: int

    def encode(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, ids: Tensor) -> Tensor:
        """About [-1, 1], not clamped."""
        raise NotImplementedError


class EmbeddedImageCodec(ImageCodec):
    """The project's codec, its latents quantised."""

    factor = FACTOR

    def __init__(self, codec: Codec, codebook_size: int, code_dim: int) -> None:
        super().__init__()
        self.codec = codec
        self.codebook_size = codebook_size
        self.to_code = nn.Conv2d(codec.latent_channels, code_dim, 1)
        self.from_code = nn.Conv2d(code_dim, codec.latent_channels, 1)
        self.quantiser = Quantiser(codebook_size, code_dim)

    def vectors(self, images: Tensor) -> Tensor:
        """What is to be quantised: (n, code_dim, h / 8, w / 8)."""
        return self.to_code(self.codec.encode(images))

    def rebuild(self, quantised: Quantised) -> Tensor:
        return self.codec.decode(self.from_code(quantised.codes))

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.codec.last_layer

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        ids: Tensor = self.quantiser(self.vectors(images)).ids
        return ids

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        return self.codec.decode(self.from_code(self.quantiser.lookup(ids)))


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


def new_image_codec(params: VQTransformerParams, codec: Codec | None = None) -> EmbeddedImageCodec:
    """An embedded one, its convolutions those of `codec`, its codebook still empty."""
    return EmbeddedImageCodec(codec or EmbeddedCodec(), params.codebook_size, params.code_dim)


def load_image_codec(params: VQTransformerParams, path: Path) -> ImageCodec:
    """The codec that params name; of the embedded kind the weights at `path`. Raises DefectoryError where there is none."""
    if params.kind == "embedded":
        codec: ImageCodec = new_image_codec(params)
        codec.load_state_dict(read_safetensors(path))
    else:
        codec = PretrainedImageCodec(_load_pretrained(params.path))
    return codec.requires_grad_(False).eval()


def _load_pretrained(path: str) -> Any:
    try:
        return VQModel.from_pretrained(path, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DefectoryError(
            f"vq_transformer.path {path!r}: no VQModel could be loaded from it ({str(error).splitlines()[0]}); "
            "give a folder with config.json and safetensors weights, or a hub name this machine can reach"
        ) from None
