"""The codec: one interface over two kinds, and weights that are read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from skimage import data
from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import SHIPPED, Codec, EmbeddedCodec, load_codec, save_codec
from tasks.diffusion.latents import to_tensor
from tasks.files.tensors import metadata_of
from tasks.params import CodecParams


@pytest.fixture
def pretrained(tmp_path: Path) -> Codec:
    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3,
    )
    network.save_pretrained(tmp_path / "vae")
    return load_codec(CodecParams(kind="pretrained", path=str(tmp_path / "vae")))


def photograph() -> Tensor:
    return to_tensor([data.coins()[:256, :256, None].repeat(3, axis=2)])


@torch.no_grad()
def test_shipped_codec_reconstructs_a_photograph_it_was_not_trained_on() -> None:
    codec = load_codec(CodecParams())
    image = photograph()
    error = (codec.decode(codec.encode(image)).clamp(-1, 1) - image).square().mean()
    assert 10 * torch.log10(4 / error) > 25


def test_shipped_codec_is_small_and_says_where_it_comes_from() -> None:
    assert SHIPPED.stat().st_size < 8_000_000
    record = metadata_of(SHIPPED)
    assert record["license"] == "Apache-2.0"
    assert "skimage" in record["training_data"] or "scikit-image" in record["training_data"]
    assert "shipped_codec" in record["recipe"]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["embedded", "pretrained"])
def test_decoding_ends_in_the_last_layer(kind: str, request: pytest.FixtureRequest) -> None:
    codec = load_codec(CodecParams()) if kind == "embedded" else request.getfixturevalue("pretrained")
    image = photograph()[:, :, :64, :64]
    latents = codec.encode(image)
    assert latents.shape == (1, codec.latent_channels, 8, 8)
    by_parts = codec.from_last(codec.last_layer(codec.hidden(latents)))
    assert torch.allclose(codec.decode(latents), by_parts, atol=1e-5)
    assert torch.allclose(codec.from_last(codec.to_last(image)), image, atol=1e-6)


@torch.no_grad()
def test_latents_are_normalised_by_channel() -> None:
    torch.manual_seed(1)
    codec = EmbeddedCodec()
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    codec.normalise_latents([images[:2], images[2:]])
    latents = codec.encode(images).transpose(0, 1).flatten(1)
    assert torch.allclose(latents.mean(dim=1), torch.zeros(8), atol=1e-4)
    assert torch.allclose(latents.std(dim=1), torch.ones(8), atol=1e-3)


def test_saved_codec_loads_again(tmp_path: Path) -> None:
    codec = load_codec(CodecParams())
    save_codec(codec, tmp_path / "codec.safetensors")
    again = load_codec(CodecParams(), tmp_path / "codec.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(codec.parameters(), again.parameters(), strict=True))


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    with pytest.raises(DefectoryError, match=r"codec\.safetensors: expected safetensors.*pickled weights are not read"):
        load_codec(CodecParams(), path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"absent\.safetensors: no such weight file"):
        load_codec(CodecParams(), tmp_path / "absent.safetensors")
    with pytest.raises(DefectoryError, match=r"codec\.path .*absent"):
        load_codec(CodecParams(kind="pretrained", path=str(tmp_path / "absent")))
