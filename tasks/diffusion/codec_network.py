"""The network of the embedded codec: residual convolutions whose width grows as the resolution falls.

Blocks and names are those of diffusers' AutoencoderTiny (TAESD, Ollin Boer Bohan), which knows one width for all
resolutions; with one width the two are the same network and share their weight files. Most of the time goes into the
highest resolution, most of the parameters into the lowest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.contracts import DefectoryError

_KEY = "architecture"


@dataclass(frozen=True)
class Architecture:
    """Widths and numbers of blocks at a half, a quarter and an eighth of the image's height and width."""

    latent_channels: int = 8
    widths: tuple[int, int, int] = (64, 64, 64)
    encoder_blocks: tuple[int, int, int] = (1, 3, 3)
    decoder_blocks: tuple[int, int, int] = (2, 3, 3)

    def as_metadata(self) -> dict[str, str]:
        return {_KEY: json.dumps(asdict(self))}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> Architecture:
        """What a weight file says of itself; files older than the entry have the default one.

        Raises DefectoryError for an entry that is none.
        """
        try:
            held: dict[str, Any] = json.loads(metadata.get(_KEY, "{}"))
            given: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in held.items()}
            return cls(**given)
        except (AttributeError, TypeError, ValueError) as error:
            raise DefectoryError(
                f"the weight file's entry {_KEY!r}: expected an architecture as JSON, got {metadata[_KEY]!r} "
                f"({error}); train the codec again"
            ) from None


class Block(nn.Module):
    """Three 3 x 3 convolutions with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (_convolution(width, width) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.relu(self.conv(hidden) + hidden)


class Encoder(nn.Module):
    """Images (n, channels, h, w) in [-1, 1] to latents (n, latent channels, h / 4, w / 4)."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.widths
        layers: list[nn.Module] = [_convolution(channels, widths[0])]
        for level, blocks in enumerate(architecture.encoder_blocks):
            if level:
                layers.append(_convolution(widths[level - 1], widths[level], stride=2, bias=False))
            layers += [Block(widths[level]) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, _convolution(widths[-1], architecture.latent_channels))

    def forward(self, images: Tensor) -> Tensor:
        latents: Tensor = self.layers((images + 1) / 2)
        return latents


class Decoder(nn.Module):
    """Latents (n, latent channels, h / 4, w / 4) to images (n, channels, h, w), about [-1, 1]."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.widths
        layers: list[nn.Module] = [_convolution(architecture.latent_channels, widths[-1]), nn.ReLU()]
        for level in (2, 1, 0):
            layers += [Block(widths[level]) for _ in range(architecture.decoder_blocks[level])]
            if level:
                layers += [nn.Upsample(scale_factor=2), _convolution(widths[level], widths[level - 1], bias=False)]
        self.layers = nn.Sequential(*layers, _convolution(widths[0], channels))

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(squashed(latents)) * 2 - 1
        return images


class CodecNetwork(nn.Module):
    """Encoder and decoder."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels, architecture), Decoder(channels, architecture)


def squashed(latents: Tensor) -> Tensor:
    """What the decoder does first: no latent leaves (-3, 3)."""
    return torch.tanh(latents / 3) * 3


def _convolution(source: int, target: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(source, target, 3, stride, 1, bias=bias)
