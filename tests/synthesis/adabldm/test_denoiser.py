"""A pretrained backbone with a ControlNet: who reads which words, and what the words are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tasks.contracts import CLEAN
from tasks.diffusion.denoiser import LabelTable, make_condition
from tasks.diffusion.pretrained import PretrainedText, prompt_of
from tasks.params import PaintParams
from tasks.synthesis.adabldm.denoiser import load_backbone
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "bent_tip")])


def test_prompts_name_the_object_and_the_object_with_its_defect() -> None:
    assert prompt_of(PaintParams().prompt, "bolt", "bent_tip") == "bolt, a bolt with a bent tip"
    assert prompt_of(PaintParams().prompt, "bolt", CLEAN) == "a bolt"


@pytest.mark.parametrize("prompt", ["a {thing}", "a {category", "a {}"])
def test_a_prompt_with_other_braces_is_refused(prompt: str) -> None:
    with pytest.raises(ValidationError, match=r"may hold \{category\} and \{defect_type\}"):
        PaintParams(prompt=prompt)


def test_the_unet_reads_the_prompt_and_the_controlnet_an_empty_text_and_the_trimap(tmp_path: Path) -> None:
    folder = str(save_tiny_pipeline(tmp_path))
    denoiser, _ = load_backbone(folder, TABLE, PaintParams().prompt, seed=0)
    read: dict[str, tuple[torch.Tensor, Any]] = {}

    def remember(module: nn.Module, arguments: tuple[torch.Tensor, ...], options: dict[str, Any]) -> None:
        read[type(module).__name__] = arguments[2], options.get("controlnet_cond")

    trimap = torch.full((1, 1, 64, 64), 0.5)
    trimap[..., :32] = 0
    trimap[..., 40:50, 40:50] = 1
    latents = torch.randn(1, 4, 8, 8)
    condition = make_condition(latents, trimap, torch.tensor([TABLE.index("bolt", "bent_tip")]))
    with (
        denoiser.unet.register_forward_pre_hook(remember, with_kwargs=True),
        denoiser.controlnet.register_forward_pre_hook(remember, with_kwargs=True),
        torch.no_grad(),
    ):
        denoiser(latents, torch.tensor([500]), condition)
    prompt, empty = PretrainedText(folder, "denoiser.path").embed(["bolt, a bolt with a bent tip", ""])
    assert torch.allclose(read["UNet2DConditionModel"][0][0], prompt, atol=1e-4)
    assert torch.allclose(read["ControlNetModel"][0][0], empty, atol=1e-4)
    assert torch.equal(read["ControlNetModel"][1], trimap.expand(-1, 3, -1, -1))
    assert not torch.allclose(prompt, empty, atol=1e-2)
