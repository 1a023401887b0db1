"""The codec: images (n, 3, height, width) in [-1, 1] to latents an eighth as high and wide, and back.

Two kinds behind one class: the embedded one that this project trained itself (a network in the manner of TAESD
behind a pixel unshuffle, which makes it several times cheaper on a CPU than convolutions at full resolution), and
any Stable-Diffusion-type AutoencoderKL by path or hub name. Latents leave `encode` with zero mean and unit variance
per channel, which is what the denoiser's noise schedule expects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from tasks.contracts import DefectoryError
from tasks.diffusion.codec_network import Architecture, CodecNetwork, squashed
from tasks.files.tensors import metadata_of, read_safetensors, write_safetensors
from tasks.networks.device import HOST, lower_precision
from tasks.params import CodecParams

SHIPPED = Path(__file__).parent / "weights" / "codec.safetensors"
FACTOR = 8
LATENT_CHANNELS = Architecture().latent_channels
_UNSHUFFLE = 2


class Codec(nn.Module, ABC):
    """A pair of encoder and decoder with latents normalised per channel."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, network: Any, latent_channels: int) -> None:
        """`network`: an autoencoder of diffusers, with `encoder` and `decoder`."""
        super().__init__()
        self.network: Any = network
        self.latent_channels = latent_channels
        self.register_buffer("latent_mean", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, latent_channels, 1, 1))

    @abstractmethod
    def encode_raw(self, images: Tensor) -> Tensor:
        """The network's own latents (n, channels, h / 8, w / 8) of images in [-1, 1], not normalised."""

    @abstractmethod
    def decode_raw(self, latents: Tensor) -> Tensor:
        """Images of the network's own latents."""

    @abstractmethod
    def hidden(self, latents: Tensor) -> Tensor:
        """What the decoder's last convolution is given, from normalised latents."""

    @property
    @abstractmethod
    def last_layer(self) -> nn.Conv2d:
        """The decoder's last convolution; `decode(z)` is `from_last(last_layer(hidden(z)))`."""

    def from_last(self, output: Tensor) -> Tensor:
        """The last convolution's output to an image, and `to_last` back."""
        return output

    def to_last(self, images: Tensor) -> Tensor:
        return images

    @property
    def decoder(self) -> nn.Module:
        return self.network.decoder

    @property
    def device(self) -> torch.device:
        return self.latent_mean.device

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self.latent_std + self.latent_mean

    def encode(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) in [-1, 1] to (n, channels, h / 8, w / 8) of zero mean and unit variance."""
        return (self.encode_raw(images) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor) -> Tensor:
        """(n, channels, h / 8, w / 8) to (n, 3, h, w), about [-1, 1] and not clamped."""
        return self.decode_raw(self.denormalise(latents))

    @torch.no_grad()
    def normalise_latents(self, images: Iterable[Tensor]) -> None:
        """Measure the latents' mean and standard deviation per channel over batches of images."""
        latents = torch.cat([self.encode_raw(batch).float().transpose(0, 1).flatten(1) for batch in images], dim=1)
        self.latent_mean.copy_(latents.mean(dim=1).view(1, -1, 1, 1))
        self.latent_std.copy_(latents.std(dim=1).clamp_min(1e-6).view(1, -1, 1, 1))


class EmbeddedCodec(Codec):
    """The project's own, at most 4 M parameters."""

    def __init__(self, architecture: Architecture = Architecture()) -> None:  # noqa: B008 - frozen
        network = CodecNetwork(3 * _UNSHUFFLE**2, architecture)
        super().__init__(network.to(memory_format=torch.channels_last), architecture.latent_channels)
        self.architecture = architecture

    def encode_raw(self, images: Tensor) -> Tensor:
        small = functional.pixel_unshuffle(images, _UNSHUFFLE).contiguous(memory_format=torch.channels_last)
        return self.network.encoder(small)

    def decode_raw(self, latents: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.network.decoder(latents), _UNSHUFFLE)

    def hidden(self, latents: Tensor) -> Tensor:
        return self.network.decoder.layers[:-1](squashed(self.denormalise(latents)))

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.network.decoder.layers[-1]

    def from_last(self, output: Tensor) -> Tensor:
        return functional.pixel_shuffle(output * 2 - 1, _UNSHUFFLE)

    def to_last(self, images: Tensor) -> Tensor:
        return functional.pixel_unshuffle((images + 1) / 2, _UNSHUFFLE)


class PretrainedCodec(Codec):
    """A Stable-Diffusion-type autoencoder; its own scaling factor takes the place of measured statistics."""

    def __init__(self, network: AutoencoderKL) -> None:
        super().__init__(network, network.config.latent_channels)
        self.latent_std.fill_(1.0 / network.config.scaling_factor)
        self.latent_mean.fill_(getattr(network.config, "shift_factor", None) or 0.0)

    def encode_raw(self, images: Tensor) -> Tensor:
        return self.network.encode(images).latent_dist.mode()

    def decode_raw(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents).sample

    def hidden(self, latents: Tensor) -> Tensor:
        decoder = self.network.decoder
        hidden = decoder.mid_block(decoder.conv_in(self.network.post_quant_conv(self.denormalise(latents))))
        for block in decoder.up_blocks:
            hidden = block(hidden)
        return decoder.conv_act(decoder.conv_norm_out(hidden))

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.network.decoder.conv_out


def load_codec(params: CodecParams, path: Path | None = None, device: torch.device = HOST) -> Codec:
    """The codec that params name; for the embedded kind from `path`, by default the shipped weights.

    Raises DefectoryError for a missing file, one that is not safetensors, or one of another architecture.
    """
    if params.kind == "pretrained":
        found = _of_autoencoder(
            params.path, lambda **part: AutoencoderKL.from_pretrained(params.path, use_safetensors=True, **part)
        )
        return PretrainedCodec(found).requires_grad_(False).eval().to(device)
    path = path or SHIPPED
    weights = read_safetensors(path)
    codec = EmbeddedCodec(Architecture.of_metadata(metadata_of(path)))
    codec.load_state_dict(weights)
    return codec.requires_grad_(False).eval().to(device)


def autoencoder_config(path: str) -> dict[str, Any]:
    """Of a pretrained codec. Raises DefectoryError where there is none."""
    return dict(_of_autoencoder(path, lambda **part: AutoencoderKL.load_config(path, **part)))


def _of_autoencoder(path: str, load: Callable[..., Any]) -> Any:
    """What `load` finds of an autoencoder at the path itself, or as the `vae` of a pipeline there."""
    reasons = []
    for part in ({}, {"subfolder": "vae"}):
        try:
            return load(**part)
        except (OSError, ValueError) as error:
            reasons.append(str(error).splitlines()[0])
    raise DefectoryError(
        f"codec.path {path!r}: no AutoencoderKL could be loaded from it ({reasons[0]}); give an autoencoder's or a "
        "pipeline's folder with config.json and safetensors weights, or a hub name this machine can reach"
    )


def save_codec(codec: Codec, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the weights in half precision, which costs less than 0.01 dB, with architecture and recipe as metadata."""
    tensors = {name: tensor.half().contiguous() for name, tensor in codec.state_dict().items()}
    architecture = codec.architecture.as_metadata() if isinstance(codec, EmbeddedCodec) else {}
    write_safetensors(path, tensors, {**architecture, **(metadata or {})})


@torch.no_grad()
def decode_plain(codec: Codec, latents: Tensor) -> Tensor:
    """D(z), float32 (n, 3, height, width)."""
    with lower_precision(latents.device):
        return codec.decode(latents).float()
