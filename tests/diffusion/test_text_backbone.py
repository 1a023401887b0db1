"""Both kinds of text backbone: what they are told by words, and by the part of an image that is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import load_codec
from tasks.diffusion.denoiser import Condition, LabelTable
from tasks.diffusion.text_backbone import EmbeddedBackbone, Hole, PretrainedBackbone, TextBackbone, new_backbone
from tasks.networks.device import HOST, lower_precision
from tasks.params import BackboneParams, CodecParams
from tests.diffusion.tiny_stable_diffusion import for_inpainting, save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "rust"), ("bolt", "bent_tip")])
PARAMS = BackboneParams(channels=[32, 64], prompt="a {category} {defect_type}")


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def inpainting_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return for_inpainting(save_tiny_pipeline(tmp_path_factory.mktemp("inpainting")))


def backbone_of(folder: Path | None) -> TextBackbone:
    params = PARAMS if folder is None else PARAMS.model_copy(update={"kind": "pretrained", "path": str(folder)})
    return new_backbone(params, 4, TABLE, seed=3)[0].eval()


@pytest.fixture(scope="module", params=["embedded", "text", "inpainting"])
def backbone(request: pytest.FixtureRequest, text_folder: Path, inpainting_folder: Path) -> TextBackbone:
    return backbone_of({"embedded": None, "text": text_folder, "inpainting": inpainting_folder}[request.param])


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def square_hole(seed: int = 8) -> Hole:
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 16:40, 8:32] = 1
    return Hole(mask, latents(seed))


def test_what_the_mask_says_and_what_is_missing_are_the_same_pixels(backbone: TextBackbone) -> None:
    """A mask of 16 x 16 pixels is four cells, if it lies on them: they are said to be painted, and they are missing."""
    codec, images = load_codec(CodecParams()), torch.rand(2, 3, 64, 64) * 2 - 1
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 16:32, 24:40] = 1
    masks[1, :, 18:30, 26:38] = 1
    hole = backbone.hole_in(codec, images, masks)
    if hole is None:
        assert not backbone.takes_holes
        return
    expected = masks if isinstance(backbone, EmbeddedBackbone) else masks[:1].repeat(2, 1, 1, 1)
    assert torch.equal(hole.mask, expected)
    with torch.no_grad(), lower_precision(HOST):
        assert torch.equal(hole.surroundings, codec.encode(images * (1 - expected)).float())
    other = torch.where(expected == 1, -images, images)
    again = backbone.hole_in(codec, other, masks)
    assert again is not None
    assert torch.equal(again.surroundings, hole.surroundings), "nothing of what is to be painted is seen"


@torch.no_grad()
def test_words_and_surroundings_are_heard(backbone: TextBackbone) -> None:
    noisy, timesteps = latents(1), torch.tensor([500, 500])
    rust, bent = (backbone.tokens_of([f"a bolt {kind}"] * 2) for kind in ("rust", "bent tip"))
    assert rust.shape[-1] == backbone.width
    assert not torch.allclose(
        backbone.predict(noisy, timesteps, rust, square_hole()), backbone.predict(noisy, timesteps, bent, square_hole())
    )
    given, other = (backbone.predict(noisy, timesteps, rust, square_hole(seed)) for seed in (8, 9))
    assert torch.equal(given, other) is not backbone.takes_holes


@torch.no_grad()
def test_as_a_denoiser_it_takes_the_prompt_of_the_label(backbone: TextBackbone) -> None:
    noisy, timesteps, hole = latents(1), torch.tensor([500, 300]), square_hole()
    labels = torch.tensor([TABLE.index("bolt", "rust"), backbone.empty_label])
    condition = Condition(hole.mask, hole.surroundings, labels)
    tokens = backbone.tokens_of(["a bolt rust", ""])
    expected = backbone.predict(noisy, timesteps, tokens, hole)
    assert torch.allclose(backbone(noisy, timesteps, condition), expected, atol=1e-4)
    assert not torch.allclose(expected, backbone.predict(noisy, timesteps, tokens.flip(0), hole), atol=1e-2)


@torch.no_grad()
def test_an_inpainting_unet_reads_noise_then_mask_then_surroundings(inpainting_folder: Path) -> None:
    backbone = backbone_of(inpainting_folder)
    noisy, hole, tokens = latents(1), square_hole(), backbone.tokens_of(["a bolt"] * 2)
    stacked = torch.cat([noisy, functional.max_pool2d(hole.mask, 8), hole.surroundings], dim=1)
    expected = backbone.unet(stacked, torch.tensor([5, 5]), tokens).sample
    assert torch.equal(backbone.predict(noisy, torch.tensor([5, 5]), tokens, hole), expected)


def test_a_word_is_found_at_its_tokens(backbone: TextBackbone) -> None:
    place = backbone.place_of("a bolt rust", "rust")
    other = backbone.tokens_of(["a bolt bent tip"])[0]
    tokens = backbone.tokens_of(["a bolt rust"])[0]
    assert place == list(range(place[0], place[-1] + 1))
    assert torch.allclose(tokens[: place[0]], other[: place[0]], atol=1e-6)
    assert not torch.allclose(tokens[place], other[place], atol=1e-3)
    assert backbone.place_of("a bolt", "rust") == []


def test_only_the_embedded_one_is_trained(backbone: TextBackbone) -> None:
    embedded = isinstance(backbone, EmbeddedBackbone)
    assert (len(backbone.trained_state()) > 0) == embedded
    assert any(parameter.requires_grad for parameter in backbone.unet.parameters()) == embedded


def test_weights_are_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = new_backbone(PARAMS, 4, TABLE, seed=3)[0]
    assert torch.equal(torch.rand(1), expected)
    again, other = (new_backbone(PARAMS, 4, TABLE, seed=seed)[0] for seed in (3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.unet.conv_in.weight, other.unet.conv_in.weight)


def test_a_missing_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"backbone\.path .*its unet could not be loaded"):
        PretrainedBackbone(str(tmp_path / "absent"), ["a bolt"])
