"""Adapters go to diffusers' pipelines and come from them: the U-Net predicts the same with either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.contracts import DefectoryError
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.text_backbone import new_backbone
from tasks.params import BackboneParams
from tasks.synthesis.inpaint_lora.exchange import as_diffusers, export_adapters, from_diffusers
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone
from tests.diffusion.tiny_stable_diffusion import parts_of, save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "rust")])
RANK = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("pipeline"))


def ours_of(folder: Path) -> LowRankBackbone:
    backbone, _ = new_backbone(BackboneParams(kind="pretrained", path=str(folder)), 4, TABLE, seed=0)
    return LowRankBackbone(backbone, TABLE, RANK, convolutions=True, seed=0).eval()


def stirred(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As if trained: a new adapter changes nothing."""
    generator = torch.Generator().manual_seed(1)
    return {name: 0.2 * torch.randn(t.shape, generator=generator) for name, t in state.items() if "lora_" in name}


@torch.no_grad()
def predicted(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    noisy, tokens = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 16, 32, generator=generator)
    return unet.eval()(noisy, torch.tensor([300]), tokens).sample


def pipeline_of(folder: Path) -> Any:
    return StableDiffusionPipeline(**parts_of(folder))


def test_ours_load_with_load_lora_weights(folder: Path, tmp_path: Path) -> None:
    ours = ours_of(folder)
    bare = predicted(ours.backbone.unet)
    ours.load_state_dict(stirred(ours.trained_state()), strict=False)
    fitted, exported = tmp_path / "inpaint_lora.safetensors", tmp_path / "adapters.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in ours.trained_state().items()}, fitted)
    export_adapters(fitted, exported)
    pipeline = pipeline_of(folder)
    pipeline.load_lora_weights(str(tmp_path), weight_name=exported.name)
    expected = predicted(ours.backbone.unet)
    assert torch.allclose(predicted(pipeline.unet), expected, atol=1e-4)
    assert not torch.allclose(bare, expected, atol=1e-2)


@pytest.mark.parametrize("alpha", [RANK, 3 * RANK])
def test_theirs_load_with_ours(folder: Path, tmp_path: Path, alpha: int) -> None:
    pipeline = pipeline_of(folder)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
    pipeline.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=alpha, target_modules=targets))
    pipeline.unet.load_state_dict(stirred(pipeline.unet.state_dict()), strict=False)
    layers = get_peft_model_state_dict(pipeline.unet)
    StableDiffusionPipeline.save_lora_weights(str(tmp_path), unet_lora_layers=layers, weight_name="theirs.safetensors")
    saved = load_file(tmp_path / "theirs.safetensors")
    if alpha != RANK:
        modules = {name.rpartition(".lora_")[0] for name in saved}
        saved |= {f"{module}.alpha": torch.tensor(float(alpha)) for module in modules}
    ours = ours_of(folder)
    state = from_diffusers(saved)
    assert state.keys() == {name for name in ours.trained_state() if "lora_" in name}
    ours.load_state_dict(state, strict=False)
    assert torch.allclose(predicted(ours.backbone.unet), predicted(pipeline.unet), atol=1e-4)


def test_there_and_back_is_the_same(folder: Path) -> None:
    state = stirred(ours_of(folder).trained_state())
    back = from_diffusers(as_diffusers(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_a_file_of_something_else_is_named() -> None:
    with pytest.raises(DefectoryError, match=r"expected adapters of a U-Net.*got te\.weight"):
        from_diffusers({"te.weight": torch.zeros(1)})
