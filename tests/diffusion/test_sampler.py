"""AdaBLDM's three stages: what they keep, what they change, and that nothing but the edit decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tasks.diffusion.blending import cells_of
from tasks.diffusion.codec import EmbeddedCodec
from tasks.diffusion.denoiser import Denoiser, make_condition
from tasks.diffusion.sampler import Edit, guided_prediction, paint_latents, stage_of
from tasks.diffusion.schedule import training_schedule
from tasks.params import PaintParams

PARAMS = PaintParams(steps=6, free_share=0.34, image_space_share=0.17)


def clean_latents(codec: EmbeddedCodec, edit: Edit) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return codec.encode(edit.cleans).float()


def test_stages_come_in_order() -> None:
    stages = [stage_of(step, PARAMS) for step in range(PARAMS.steps)]
    assert stages == ["free", "free", "latent", "latent", "latent", "image"]


@pytest.mark.parametrize("scheduler", ["dpm-solver++", "ddim"])
def test_outside_the_mask_the_latents_are_the_clean_ones(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., Edit], scheduler: str
) -> None:
    edit = make_edit()
    params = PARAMS.model_copy(update={"scheduler": scheduler})
    latents = paint_latents(random_denoiser, random_codec, training_schedule(), edit, params)
    expected = clean_latents(random_codec, edit)
    outside = (cells_of(edit.masks) == 0).expand_as(latents)
    assert torch.equal(latents[outside], expected[outside])
    assert (latents[~outside] - expected[~outside]).abs().mean() > 0.1
    assert latents.isfinite().all()


def test_without_a_mask_nothing_is_painted(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., Edit]
) -> None:
    edit = make_edit(empty=True)
    latents = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    assert torch.equal(latents, clean_latents(random_codec, edit))


def test_the_same_edit_gives_the_same_bits_and_companions_do_not_matter(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., Edit]
) -> None:
    edit = make_edit()
    first = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    again = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    assert torch.equal(first, again)
    order = torch.tensor([2, 0, 1])
    moved = Edit(*(getattr(edit, name)[order] for name in Edit.__dataclass_fields__))
    assert torch.equal(paint_latents(random_denoiser, random_codec, training_schedule(), moved, PARAMS), first[order])


def test_guidance_goes_from_the_clean_to_the_defect_prediction(
    random_denoiser: Denoiser, make_edit: Callable[..., Edit]
) -> None:
    edit = make_edit()
    condition = make_condition(edit.noise, edit.trimaps, edit.defect_labels)
    clean = condition.without_defect(edit.clean_labels)
    timesteps = torch.full((3,), 500)

    def predict(scale: float) -> torch.Tensor:
        with torch.no_grad():
            return guided_prediction(random_denoiser, edit.noise, timesteps, condition, clean, torch.tensor(scale))

    at_0, at_1, at_3 = predict(0.0), predict(1.0), predict(3.0)
    assert not torch.allclose(at_0, at_1, atol=1e-3)
    assert torch.allclose(at_3, at_0 + 3 * (at_1 - at_0), atol=1e-4)


def test_strength_moves_the_result_away_from_the_clean_prediction(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., Edit]
) -> None:
    edit = make_edit()
    schedule = training_schedule()
    params = PARAMS.model_copy(update={"image_space_share": 0.0, "scheduler": "ddim"})
    weak, middle, strong = (
        paint_latents(random_denoiser, random_codec, schedule, replace(edit, strengths=torch.full((3,), g)), params)
        for g in (0.0, 2.0, 6.0)
    )
    assert (strong - weak).abs().mean() > (middle - weak).abs().mean() > 0
