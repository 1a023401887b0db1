"""The training of the shipped codec, in small: it learns, it follows the clock, and its file says what it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.diffusion.codec import EmbeddedCodec, metadata_of
from tasks.diffusion.codec_network import Architecture
from tasks.diffusion.shipped_codec import (
    SMALL,
    Crops,
    Record,
    Training,
    adversarial_share,
    learning_rate_share,
    shares_of_time,
    texture,
    write,
)
from tasks.diffusion.shipped_images import SIZE, TrainingImages
from tasks.networks.device import HOST

TINY = Architecture(4, (8, 8, 8), (1, 1, 1), (1, 1, 1))


@pytest.fixture
def crops() -> Crops:
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    return Crops(TrainingImages(pictures, np.array([0.5, 0.5, 0.0]), "noise"), HOST, seed=1)


def test_crops_are_seeded_and_keep_to_their_shares(crops: Crops) -> None:
    again = Crops(TrainingImages(crops.pictures.numpy(), crops.shares.numpy(), ""), HOST, seed=1)
    first = crops.draw(32, 5)
    assert first.shape == (5, 3, 32, 32)
    assert first.abs().max() <= 1
    assert torch.equal(first, again.draw(32, 5))
    assert not torch.equal(first, crops.draw(32, 5))
    assert set(crops.chosen(100).tolist()) == {0, 1}


def test_texture_tells_grain_from_a_smooth_surface() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    grain = ramp + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert texture(grain)[..., 1:-1, 1:-1].min() > 5 * texture(ramp)[..., 1:-1, 1:-1].max()


def test_schedules_begin_gently_and_end_annealed() -> None:
    assert learning_rate_share(0) < 0.05
    assert learning_rate_share(0.03) == pytest.approx(1)
    assert learning_rate_share(1.0) == learning_rate_share(1.2) == pytest.approx(0.01)
    assert adversarial_share(0.5) == 0 < adversarial_share(0.65) < adversarial_share(0.9)


def test_the_clock_ends_the_training() -> None:
    assert list(shares_of_time(time.monotonic() - 10, 1)) == [0.0]


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_step_moves_the_weights_and_their_average(crops: Crops, share: float) -> None:
    torch.manual_seed(0)
    training = Training(EmbeddedCodec(TINY), crops, SMALL)
    before = [parameter.detach().clone() for parameter in training.parameters]
    terms = training.step(share)
    assert ("discriminator" in terms) == (share == 0.9)
    assert all(bool(torch.isfinite(value)) for value in terms.values())
    assert not all(torch.equal(a, b) for a, b in zip(before, training.parameters, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, training.average, strict=True))


def test_the_file_says_what_it_is_and_its_latents_are_normalised(crops: Crops, tmp_path: Path) -> None:
    training = Training(EmbeddedCodec(TINY), crops, SMALL)
    record = Record(time.monotonic(), 1.0, "somewhere", "noise")
    record.log(training, 0.5, training.step(0.0))
    write(tmp_path / "codec.safetensors", training, record)
    held = metadata_of(tmp_path / "codec.safetensors")
    assert held["license"] == "Apache-2.0"
    assert held["training_data"] == "noise"
    assert "1 steps, 4 crops, somewhere" in held["trained"]
    assert json.loads((tmp_path / "codec.log.json").read_text())[0]["crops"] == 4
    latents = training.averaged().encode(crops.whole(8)).transpose(0, 1).flatten(1)
    assert torch.allclose(latents.mean(dim=1), torch.zeros(4), atol=0.1)
    assert torch.allclose(latents.std(dim=1), torch.ones(4), atol=0.1)
