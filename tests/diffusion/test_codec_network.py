"""The embedded codec's network: its architecture travels with the weights, and the old files are still read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import EmbeddedCodec, load_codec, metadata_of, save_codec
from tasks.diffusion.codec_network import Architecture
from tasks.params import CodecParams

SMALL = Architecture(4, (8, 12, 16), (1, 2, 1), (2, 1, 1))


@torch.no_grad()
def test_a_file_says_which_architecture_it_holds(tmp_path: Path) -> None:
    codec = EmbeddedCodec(SMALL)
    save_codec(codec, tmp_path / "codec.safetensors", {"license": "Apache-2.0"})
    again = load_codec(CodecParams(), tmp_path / "codec.safetensors")
    assert isinstance(again, EmbeddedCodec)
    assert again.architecture == SMALL
    assert metadata_of(tmp_path / "codec.safetensors")["license"] == "Apache-2.0"
    images = torch.rand(1, 3, 32, 32)
    assert again.encode(images).shape == (1, 4, 4, 4)
    assert again.decode(again.encode(images)).shape == images.shape


@torch.no_grad()
def test_decoding_ends_in_the_last_layer_at_any_width() -> None:
    codec = EmbeddedCodec(SMALL)
    latents = torch.randn(1, 4, 4, 4)
    by_parts = codec.from_last(codec.last_layer(codec.hidden(latents)))
    assert torch.allclose(codec.decode(latents), by_parts, atol=1e-5)


def test_metadata_without_an_architecture_mean_the_first_one() -> None:
    assert Architecture.of_metadata({}) == Architecture()
    assert Architecture.of_metadata(SMALL.as_metadata()) == SMALL


@pytest.mark.parametrize("entry", ["{", '{"depth": 3}', "[1]"])
def test_an_architecture_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(DefectoryError, match="'architecture': expected an architecture"):
        Architecture.of_metadata({"architecture": entry})
