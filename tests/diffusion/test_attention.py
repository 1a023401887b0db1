"""Cross-attention maps against a softmax by hand, edits of the scores, and a U-Net left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from tasks.diffusion.attention import AttentionMaps, cross_attention
from tasks.diffusion.text_backbone import EmbeddedBackbone
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

TOKENS = 5


@pytest.fixture(scope="module", params=["embedded", "pretrained"])
def unet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> UNet2DConditionModel:
    if request.param == "embedded":
        torch.manual_seed(0)
        return EmbeddedBackbone(4, [32, 64], ["a bolt"]).unet.requires_grad_(False).eval()
    folder: Path = save_tiny_pipeline(tmp_path_factory.mktemp("pipeline"))
    return UNet2DConditionModel.from_pretrained(folder / "unet").requires_grad_(False).eval()


def run(unet: UNet2DConditionModel, tokens: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, unet.config.in_channels, 8, 8, generator=generator)
    if tokens is None:
        tokens = torch.randn(2, TOKENS, unet.config.cross_attention_dim, generator=generator)
    return unet(noisy, torch.tensor([10, 500]), tokens).sample


def layers_of(unet: UNet2DConditionModel) -> list[Attention]:
    return [m for name, m in unet.named_modules() if name.endswith("attn2") and isinstance(m, Attention)]


@contextmanager
def overheard(layers: list[Attention]) -> Iterator[list[tuple[Attention, Tensor, Tensor]]]:
    """Every layer with the image features and the tokens that it is given, in the order of their calls."""
    heard: list[tuple[Attention, Tensor, Tensor]] = []

    def hear(layer: Attention, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        heard.append((layer, given[0], named["encoder_hidden_states"]))

    handles = [layer.register_forward_pre_hook(hear, with_kwargs=True) for layer in layers]
    yield heard
    for handle in handles:
        handle.remove()


def test_recorded_maps_are_the_softmax_by_hand(unet: UNet2DConditionModel) -> None:
    layers = layers_of(unet)
    with overheard(layers) as heard, cross_attention(unet) as recorded:
        run(unet)
    assert len(recorded.maps) == len(heard) == len(layers) > 0
    for (layer, features, tokens), found in zip(heard, recorded.maps, strict=True):
        query, key = layer.to_q(features), layer.to_k(tokens)
        width = query.shape[-1] // layer.heads
        heads = []
        for head in range(layer.heads):
            own = slice(head * width, (head + 1) * width)
            scores = torch.einsum("npc,ntc->npt", query[..., own], key[..., own]) / width**0.5
            heads.append(scores.exp() / scores.exp().sum(dim=-1, keepdim=True))
        assert torch.allclose(found, torch.stack(heads).mean(dim=0), atol=1e-5)


def test_recording_changes_nothing(unet: UNet2DConditionModel) -> None:
    plain = run(unet)
    with cross_attention(unet):
        recorded = run(unet)
    assert torch.allclose(plain, recorded, atol=1e-5)
    assert torch.equal(run(unet), plain)


def test_processors_come_back_even_after_an_error(unet: UNet2DConditionModel) -> None:
    before = [layer.processor for layer in layers_of(unet)]

    def fail_inside() -> None:
        with cross_attention(unet):
            assert all(layer.processor is not old for layer, old in zip(layers_of(unet), before, strict=True))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert all(layer.processor is old for layer, old in zip(layers_of(unet), before, strict=True))


def test_edited_scores_decide_what_is_looked_at(unet: UNet2DConditionModel) -> None:
    def only_the_third(scores: Tensor, side: int) -> Tensor:
        assert scores.shape[2] == side * side
        return torch.where(torch.arange(TOKENS) == 2, scores, -torch.inf)

    tokens = torch.randn(2, TOKENS, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))
    with cross_attention(unet, only_the_third) as recorded:
        edited = run(unet, tokens)
    assert all(torch.equal(found[..., 2], torch.ones_like(found[..., 2])) for found in recorded.maps)
    assert torch.allclose(edited, run(unet, tokens[:, 2:3]), atol=1e-5)


def test_maps_carry_gradients_to_the_tokens(unet: UNet2DConditionModel) -> None:
    tokens = torch.randn(2, TOKENS, unet.config.cross_attention_dim, requires_grad=True)
    with cross_attention(unet) as recorded:
        run(unet, tokens)
    recorded.at_side(8)[:, 1].mean().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum() > 0


def test_maps_of_all_layers_become_one_of_the_wanted_size() -> None:
    fine = torch.rand(1, 16, 3).softmax(dim=-1)
    coarse = torch.rand(1, 4, 3).softmax(dim=-1)
    only, both = AttentionMaps([fine]), AttentionMaps([fine, coarse])
    assert torch.equal(only.at_side(4)[0, 2], fine[0, :, 2].view(4, 4))
    assert torch.allclose(both.at_side(4).sum(dim=1), torch.ones(1, 4, 4))
    assert torch.allclose(both.at_side(2).mean(dim=(2, 3)), (fine.mean(dim=1) + coarse.mean(dim=1)) / 2, atol=1e-2)
    both.clear()
    assert both.maps == []
