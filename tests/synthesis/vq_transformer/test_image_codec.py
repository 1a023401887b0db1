"""Both kinds of image codec: tokens of the right grid, and what is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import VQModel

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import load_codec
from tasks.diffusion.latents import to_tensor
from tasks.params import CodecParams
from tasks.synthesis.vq_transformer.image_codec import EmbeddedImageCodec, lift, load_pretrained, lower
from tests.factories import make_inputs


def test_directions_tell_all_of_a_latent() -> None:
    latents = 2 * torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    rays = lift(latents)
    assert torch.allclose(lower(rays / rays.norm(dim=1, keepdim=True)), latents, atol=1e-5)


def test_a_codebook_that_has_followed_real_images_rebuilds_others() -> None:
    images = to_tensor([image.image for image in make_inputs(size=128, cleans=5).images])
    codec = EmbeddedImageCodec(load_codec(CodecParams()), 256)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        vectors = codec.vectors(images)
        for _ in range(25):
            codec.quantiser.follow(vectors[:-2], generator)
    ids = codec.encode(images)
    assert ids.shape == (len(images), 16, 16)
    assert len(ids.unique()) > 128
    error = (codec.decode(ids[-2:]).clamp(-1, 1) - images[-2:]) / 2
    assert -10 * error.square().mean().log10() > 21


def tiny_vq_model(folder: Path) -> Path:
    torch.manual_seed(0)
    VQModel(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        num_vq_embeddings=24,
        norm_num_groups=8,
    ).save_pretrained(folder)
    return folder


def test_a_pretrained_model_speaks_with_its_own_ids(tmp_path: Path) -> None:
    codec = load_pretrained(str(tiny_vq_model(tmp_path)))
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ids = codec.encode(images)
    assert (codec.factor, codec.codebook_size) == (4, 24)
    assert ids.shape == (2, 8, 12)
    with torch.no_grad():
        expected = VQModel.from_pretrained(tmp_path)(images).sample
    assert torch.allclose(codec.decode(ids), expected, atol=1e-5)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"vq_transformer\.codec\.path .*no VQModel"):
        load_pretrained(str(tmp_path / "absent"))
