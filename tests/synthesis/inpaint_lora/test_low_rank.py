"""Adapters on both kinds of backbone: what is trained, what stays, and what is left when they are taken out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.text_backbone import Hole, TextBackbone, new_backbone
from tasks.params import BackboneParams
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone, first_tokens
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

TABLE = LabelTable.of([("plate", "clean"), ("plate", "deep_scratch"), ("plate", "spot")])
KINDS = ("embedded", "pretrained")


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> TextBackbone:
    path = str(save_tiny_pipeline(tmp_path)) if request.param == "pretrained" else ""
    params = BackboneParams(kind=request.param, path=path, channels=[32, 64])
    return new_backbone(params, 4, TABLE, seed=3)[0].requires_grad_(False).eval()


def predict(model: LowRankBackbone, labels: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(len(labels), 4, 8, 8, generator=generator)
    masks = torch.zeros(len(labels), 1, 64, 64)
    masks[..., 16:40, 16:40] = 1
    timesteps = torch.full((len(labels),), 500)
    disturbance = torch.zeros(len(labels), *model.disturbance_shape)
    return model.predict(noisy, timesteps, labels, Hole(masks, torch.zeros_like(noisy)), disturbance)


def stir(model: LowRankBackbone) -> None:
    """As if trained: random values in all that is trained."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def test_the_backbone_comes_back_bit_for_bit(backbone: TextBackbone) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model, labels = LowRankBackbone(backbone, TABLE, 4, convolutions=True, seed=0), torch.tensor([0, 1, 2])
    plain = predict(model, labels)
    stir(model)
    trained = model.learned.clone()
    assert (predict(model, labels) - plain).abs().max() > 0.01
    model.learned.copy_(first_tokens(backbone, TABLE, model.prompts))
    with model.without_adapters():
        assert torch.equal(predict(model, labels), plain)
    assert not torch.equal(predict(model, labels), plain)
    model.learned.copy_(trained)
    model.unload()
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_untrained_adapters_add_nothing(backbone: TextBackbone) -> None:
    model = LowRankBackbone(backbone, TABLE, 4, convolutions=True, seed=0)
    plain = predict(model, torch.tensor([1, 2]))
    with model.without_adapters():
        assert torch.allclose(predict(model, torch.tensor([1, 2])), plain, atol=1e-6)


@torch.no_grad()
def test_fused_adapters_predict_the_same(backbone: TextBackbone) -> None:
    model, labels = LowRankBackbone(backbone, TABLE, 4, convolutions=True, seed=0), torch.tensor([0, 1])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(0.3).add_(0.02)
    trained = predict(model, labels)
    model.fuse()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.allclose(predict(model, labels), trained, atol=1e-4)


def test_only_adapters_and_tokens_are_trained_and_saved(backbone: TextBackbone) -> None:
    model = LowRankBackbone(backbone, TABLE, 4, convolutions=False, seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == model.trained_state().keys()
    assert "learned" in trained
    assert all("attn" in name for name in trained - {"learned"})
    wider = LowRankBackbone(model.unload(), TABLE, 4, convolutions=True, seed=0)
    assert any("conv" in name for name in wider.trained_state())
    weights = sum(tensor.numel() for tensor in wider.trained_state().values())
    assert weights < 0.25 * sum(parameter.numel() for parameter in backbone.unet.parameters())


def test_weights_follow_the_seed(backbone: TextBackbone) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        model = LowRankBackbone(backbone, TABLE, 4, convolutions=True, seed=seed)
        made = {name: tensor.clone() for name, tensor in model.trained_state().items()}
        model.unload()
        return made

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_token_begins_as_the_words_of_its_type() -> None:
    backbone = new_backbone(BackboneParams(channels=[32, 64]), 4, TABLE, seed=3)[0].requires_grad_(False)
    model = LowRankBackbone(backbone, TABLE, 4, convolutions=True, seed=0)
    label = TABLE.index("plate", "deep_scratch")
    places = backbone.place_of(backbone.prompts[label], "deep scratch")
    assert len(places) == 2
    assert torch.equal(model.learned[label], model.prompts[label, places].mean(dim=0))


def test_noise_on_the_prompt_is_measured_in_its_own_spread(backbone: TextBackbone) -> None:
    model, labels = LowRankBackbone(backbone, TABLE, 4, convolutions=False, seed=0), torch.tensor([1])
    calm = model.tokens(labels, torch.zeros(1, *model.disturbance_shape))
    disturbed = model.tokens(labels, torch.ones(1, *model.disturbance_shape))
    assert torch.allclose(disturbed - calm, model.prompts.std().expand_as(calm), atol=1e-5)
    assert torch.equal(calm[0, -1], model.learned[1])
    assert torch.equal(calm[0, :-1], model.prompts[1])
