"""AdaBLDM's three stages: what they keep, what they change, and that nothing but the edit decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from skimage import data

from tasks.diffusion.codec import Codec, EmbeddedCodec, load_codec
from tasks.diffusion.denoiser import Denoiser, make_condition
from tasks.diffusion.latents import cells_of, to_tensor
from tasks.diffusion.schedule import training_schedule
from tasks.networks.device import HOST, lower_precision
from tasks.params import CodecParams
from tasks.params.systems import AdaBLDMParams
from tasks.synthesis.adabldm.sampler import EditRequest, guided_prediction, paint_latents, stage_of
from tasks.training.closeup import CELL

REACH = 2
PARAMS = AdaBLDMParams(steps=6, free_share=0.34, image_space_share=0.17)


def clean_latents(codec: Codec, edit: EditRequest) -> torch.Tensor:
    with torch.no_grad(), lower_precision(HOST):
        return codec.encode(edit.cleans).float()


def test_stages_come_in_order() -> None:
    stages = [stage_of(step, PARAMS) for step in range(PARAMS.steps)]
    assert stages == ["free", "free", "latent", "latent", "latent", "image"]


@pytest.mark.parametrize("scheduler", ["dpm-solver++", "ddim"])
def test_outside_the_mask_the_latents_are_the_clean_ones(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., EditRequest], scheduler: str
) -> None:
    edit = make_edit()
    params = PARAMS.model_copy(update={"scheduler": scheduler})
    latents = paint_latents(random_denoiser, random_codec, training_schedule(), edit, params)
    expected = clean_latents(random_codec, edit)
    outside = (cells_of(edit.masks, REACH) == 0).expand_as(latents)
    assert torch.equal(latents[outside], expected[outside])
    assert (latents[~outside] - expected[~outside]).abs().mean() > 0.1
    assert latents.isfinite().all()


@pytest.fixture(scope="module")
def photographs() -> EditRequest:
    """Two photographs of 128 pixels with a round mask each, for the shipped codec."""
    cleans = to_tensor([data.coffee()[40:168, 200:328], data.chelsea()[60:188, 100:228]])
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    masks = ((rows - 60) ** 2 + (columns - 70) ** 2 < 14**2).float().expand(2, 1, -1, -1)
    labels = torch.tensor([1, 1])
    noise = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    return EditRequest(cleans, masks, masks.clamp_min(0.5), labels, labels - 1, torch.full((2,), 2.0), noise)


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return load_codec(CodecParams())


def psnr(images: torch.Tensor, cleans: torch.Tensor, where: torch.Tensor) -> float:
    """In dB, of the pixels (n, 1, height, width) that are 1 in `where`."""
    error = ((images.clamp(-1, 1) - cleans) / 2).square() * where
    return float(-10 * torch.log10(error.sum() / (3 * where.sum())))


def dilated(masks: torch.Tensor) -> torch.Tensor:
    """The pixels of all cells that may change."""
    return cells_of(masks, REACH).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)


def test_without_the_editing_stages_the_surroundings_are_lost(
    shipped: Codec, random_denoiser: Denoiser, photographs: EditRequest
) -> None:
    outside = 1 - dilated(photographs.masks)
    found = {}
    for name, free, image_space in (("free", 1.0, 0.0), ("latent", 0.34, 0.0), ("all", 0.34, 0.17)):
        params = AdaBLDMParams(steps=6, free_share=free, image_space_share=image_space)
        latents = paint_latents(random_denoiser, shipped, training_schedule(), photographs, params)
        found[name] = psnr(shipped.decode(latents), photographs.cleans, outside)
    assert min(found["latent"], found["all"]) > found["free"] + 8  # seen: 12 at the least


def test_editing_in_image_space_keeps_the_pixels_between_the_mask_and_its_dilation(
    shipped: Codec, random_denoiser: Denoiser, photographs: EditRequest
) -> None:
    """Latent editing leaves the dilated cells to the denoiser; only pixels know the mask's own outline."""
    between = dilated(photographs.masks) - photographs.masks

    def kept(image_space_share: float) -> float:
        params = PARAMS.model_copy(update={"image_space_share": image_space_share})
        latents = paint_latents(random_denoiser, shipped, training_schedule(), photographs, params)
        return psnr(shipped.decode(latents), photographs.cleans, between)

    assert kept(0.17) > kept(0.0) + 3


def test_the_mask_is_dilated_by_five_cells_a_side(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., EditRequest]
) -> None:
    edit = make_edit(empty=True)
    edit.masks[:, :, 28, 35] = 1  # the cell in row 3 and column 4
    edit = replace(edit, trimaps=edit.masks.clamp_min(0.5))
    latents = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    changed = (latents != clean_latents(random_codec, edit)).any(dim=1)
    expected = torch.zeros_like(changed)
    expected[:, 1:6, 2:7] = True
    assert torch.equal(changed, expected)


def test_without_a_mask_nothing_is_painted(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., EditRequest]
) -> None:
    edit = make_edit(empty=True)
    latents = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    assert torch.equal(latents, clean_latents(random_codec, edit))


def test_the_same_edit_gives_the_same_bits_and_companions_do_not_matter(
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., EditRequest]
) -> None:
    edit = make_edit()
    first = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    again = paint_latents(random_denoiser, random_codec, training_schedule(), edit, PARAMS)
    assert torch.equal(first, again)
    order = torch.tensor([2, 0, 1])
    moved = EditRequest(*(getattr(edit, name)[order] for name in EditRequest.__dataclass_fields__))
    assert torch.equal(paint_latents(random_denoiser, random_codec, training_schedule(), moved, PARAMS), first[order])


def test_guidance_goes_from_the_clean_to_the_defect_prediction(
    random_denoiser: Denoiser, make_edit: Callable[..., EditRequest]
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
    random_codec: EmbeddedCodec, random_denoiser: Denoiser, make_edit: Callable[..., EditRequest]
) -> None:
    edit = make_edit()
    schedule = training_schedule()
    params = PARAMS.model_copy(update={"image_space_share": 0.0, "scheduler": "ddim"})
    weak, middle, strong = (
        paint_latents(random_denoiser, random_codec, schedule, replace(edit, strengths=torch.full((3,), g)), params)
        for g in (0.0, 2.0, 6.0)
    )
    assert (strong - weak).abs().mean() > (middle - weak).abs().mean() > 0
