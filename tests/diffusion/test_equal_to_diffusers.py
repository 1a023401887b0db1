"""What real weights are run through equals diffusers' own pipelines: same latents, prompts and steps, same pictures.

On tiny pipelines of the real classes, in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from tasks.diffusion.codec import Codec, load_codec
from tasks.diffusion.denoiser import Condition, LabelTable
from tasks.diffusion.latents import blend, cells_of
from tasks.diffusion.schedule import own_schedule, sampling_schedule, timesteps_of
from tasks.diffusion.text_backbone import new_backbone
from tasks.params import BackboneParams, CodecParams
from tasks.synthesis.adabldm.denoiser import load_backbone
from tasks.synthesis.inpaint_lora.low_rank import LowRankBackbone
from tasks.synthesis.inpaint_lora.sampler import Draw, FillRequest, fill_holes
from tests.diffusion.tiny_stable_diffusion import for_inpainting, parts_of, save_tiny_pipeline

TABLE = LabelTable.of([("bolt", "rust")])
CLEAN, RUST = TABLE.index("bolt", "clean"), TABLE.index("bolt", "rust")
SIDE, STEPS, GUIDANCE = 64, 4, 3.0
CELLS = SIDE // 8
AS_OURS = {"num_inference_steps": STEPS, "height": SIDE, "width": SIDE, "output_type": "latent"}


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.networks.device._has_bfloat16", lambda device: False)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save(folder: Path) -> Path:
    """A pipeline that begins at pure noise, and whose encoder's draws are its means: ours takes the means."""
    save_tiny_pipeline(folder)
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
    ).save_pretrained(folder / "scheduler")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    vae.save_pretrained(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def inpainting_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return for_inpainting(save(tmp_path_factory.mktemp("inpainting")))


def scheduled(folder: Path) -> dict[str, Any]:
    return {**parts_of(folder), "scheduler": sampling_schedule(own_schedule(str(folder)), "ddim", STEPS)}


def ours_of(folder: Path) -> tuple[LowRankBackbone, Codec]:
    params = BackboneParams(kind="pretrained", path=str(folder), prompt="a {category} with {defect_type}")
    backbone, _ = new_backbone(params, 4, TABLE, seed=0)
    network = LowRankBackbone(backbone.eval(), TABLE, rank=2, convolutions=False, seed=0)
    return network, load_codec(CodecParams(kind="pretrained", path=str(folder / "vae")))


def mask_of() -> Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 18:30, 26:44] = 1
    return mask


def as_pixels(cells: Tensor) -> Tensor:
    return cells.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def request(
    network: LowRankBackbone, codec: Codec, image: Tensor, mask: Tensor, guide_from: Literal["clean", "empty"]
) -> FillRequest:
    clean = codec.encode(image).float()
    hole = network.backbone.hole_in(codec, image, mask)
    labels = torch.tensor([RUST]), torch.tensor([CLEAN if guide_from == "clean" else network.empty_label])
    return FillRequest(clean, mask, *labels, torch.tensor([GUIDANCE]), hole, clean, guide_from=guide_from)


@pytest.mark.parametrize("guide_from", ["clean", "empty"])
@pytest.mark.parametrize("kind", ["text", "inpainting"])
@torch.no_grad()
def test_the_painter_equals_the_inpainting_pipeline(
    kind: str, guide_from: Literal["clean", "empty"], text_folder: Path, inpainting_folder: Path
) -> None:
    """A U-Net for text is blended by the pipeline itself; one for inpainting here, in its callback."""
    folder = text_folder if kind == "text" else inpainting_folder
    network, codec = ours_of(folder)
    image, mask, noise = drawn(1, 3, SIDE, SIDE).clamp(-1, 1), mask_of(), drawn(1, 4, CELLS, CELLS, seed=1)
    asked = request(network, codec, image, mask, guide_from)
    schedule, undisturbed = own_schedule(str(folder)), torch.zeros(1, *network.disturbance_shape)
    sampler = sampling_schedule(schedule, "ddim", STEPS)
    ours = fill_holes(network, schedule, sampler, asked, Draw(noise, undisturbed))

    cells, later = cells_of(mask), [*sampler.timesteps[1:], None]

    def blended(pipeline: Any, step: int, timestep: int, held: dict[str, Tensor]) -> dict[str, Tensor]:
        then = later[step]
        clean = asked.clean_latents
        around = clean if then is None else schedule.add_noise(clean, noise, then[None])
        return {"latents": blend(held["latents"], around, cells)}

    theirs = StableDiffusionInpaintPipeline(**scheduled(folder))(
        image=(image + 1) / 2,
        mask_image=as_pixels(cells) if kind == "text" else as_pixels(torch.nn.functional.max_pool2d(mask, 8)),
        prompt_embeds=network.tokens(asked.defect_labels, undisturbed),
        negative_prompt_embeds=network.tokens(asked.rival_labels, undisturbed),
        guidance_scale=GUIDANCE,
        latents=noise,
        **AS_OURS,
        callback_on_step_end=None if kind == "text" else blended,
    ).images
    assert torch.allclose(ours, theirs, atol=2e-3 * float(theirs.abs().max()))
    assert (ours - asked.clean_latents).abs()[:, :, cells[0, 0] == 1].mean() > 0.1


@torch.no_grad()
def test_the_text_backbone_equals_the_text_pipeline(text_folder: Path) -> None:
    params = BackboneParams(kind="pretrained", path=str(text_folder))
    backbone = new_backbone(params, 4, TABLE, seed=0)[0].eval()
    noise = drawn(1, 4, CELLS, CELLS, seed=1)
    sampler = sampling_schedule(own_schedule(str(text_folder)), "ddim", STEPS)
    words, empty, latents = backbone.tokens_of(["a rusty bolt"]), backbone.tokens_of([""]), noise
    for timestep, timesteps in timesteps_of(sampler, noise):
        plain, told = (backbone.predict(latents, timesteps, tokens) for tokens in (empty, words))
        latents = sampler.step(plain + GUIDANCE * (told - plain), timestep, latents, return_dict=False)[0]
    theirs = StableDiffusionPipeline(**scheduled(text_folder))(
        prompt="a rusty bolt",
        guidance_scale=GUIDANCE,
        latents=noise,
        **AS_OURS,
    ).images
    assert torch.allclose(latents, theirs, atol=1e-3 * float(theirs.abs().max()))


@torch.no_grad()
def test_adabldms_controlnet_equals_the_controlnet_pipeline_and_loads_there(text_folder: Path, tmp_path: Path) -> None:
    """With the empty text for the U-Net as for the ControlNet, and nothing blended."""
    denoiser, schedule = load_backbone(str(text_folder), TABLE, "a {category} with {defect_type}", seed=3)
    for parameter in denoiser.controlnet.parameters():  # as if trained: its last layers begin at zero
        parameter.add_(0.02 * drawn(*parameter.shape, seed=5))
    trimap, noise = mask_of().clamp_min(0.5), drawn(1, 4, CELLS, CELLS, seed=1)
    condition = Condition(trimap, torch.zeros_like(noise), torch.tensor([denoiser.empty_label]))
    sampler, latents = sampling_schedule(schedule, "ddim", STEPS), noise
    for timestep, timesteps in timesteps_of(sampler, noise):
        latents = sampler.step(denoiser.eval()(latents, timesteps, condition), timestep, latents, return_dict=False)[0]
    denoiser.controlnet.save_pretrained(tmp_path)
    theirs = StableDiffusionControlNetPipeline(
        **scheduled(text_folder), controlnet=ControlNetModel.from_pretrained(tmp_path)
    )(
        prompt="",
        image=trimap.expand(-1, 3, -1, -1),
        guidance_scale=1.0,
        latents=noise,
        **AS_OURS,
    ).images
    assert torch.allclose(latents, theirs, atol=1e-3 * float(theirs.abs().max()))
    without = StableDiffusionPipeline(**scheduled(text_folder))(
        prompt="",
        guidance_scale=1.0,
        latents=noise,
        **AS_OURS,
    ).images
    assert not torch.allclose(latents, without, atol=1e-2)
