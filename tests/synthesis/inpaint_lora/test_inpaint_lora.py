"""The few-shot painter behind the protocol, with tiny models of both kinds of backbone, for inpainting and for text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from scipy import ndimage

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, InputImage, Place, SampleSpec
from tasks.diffusion import codec_training, text_backbone
from tasks.diffusion.codec import decode_plain
from tasks.diffusion.latents import cells_of, mask_tensor, to_tensor
from tasks.diffusion.schedule import sampling_schedule
from tasks.files.hashing import file_sha256
from tasks.files.names import BACKBONE
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.params.systems import InpaintLoraParams
from tasks.progress import silent
from tasks.synthesis import crop_paste, inpaint_lora
from tasks.synthesis.inpaint_lora.low_fidelity import distances_inside
from tasks.synthesis.inpaint_lora.sampler import fill_holes
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.synthesis.fitted_in import fit_in

SIZE = 64
TRAINING = {"rank": 2, "pool_size": 8, "steps": 4, "batch_size": 2, "checkpoint_every": 2}


def part(name: str, split: str, kind: str) -> InputImage:
    """A plate with brushed lines; a spot is dark, a flake is bright."""
    generator = np.random.default_rng([ord(letter) for letter in name])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    plate = 130 + 20 * np.sin(columns / 3) + generator.normal(0, 2, (SIZE, SIZE))
    mask = np.hypot(rows - generator.uniform(20, 44), columns - generator.uniform(20, 44)) < 8
    if kind != CLEAN:
        plate = np.where(mask, {"spot": 30, "flake": 240}[kind], plate)
    return InputImage(
        image_id=f"plate/{kind}/{name}",
        category="plate",
        defect_type=kind,
        split=split,
        group=name,
        image=np.repeat(plate.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2),
        mask=None if kind == CLEAN else mask,
        foreground=np.ones((SIZE, SIZE), bool),
        sha256=name,
        path=name,
        source="made",
        license="Apache-2.0",
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    cleans = [part(f"clean{n}", TRAIN, CLEAN) for n in range(8)]
    defects = [part(f"{kind}{n}", TRAIN, kind) for kind in ("spot", "flake") for n in range(3)]
    return Inputs((*cleans, *defects, part("held", TEST, "spot")), (), "inputs")


def params_with(training: dict[str, object] | None = None, **blocks: object) -> Params:
    content = {
        "dataset": {"name": "plates", "image_size": SIZE, "threads": 1},
        "inputs": {"sources": [{"kind": "elpv"}]},
        "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
        "backbone": {"channels": [32, 64], "steps": 2, "batch_size": 2, "pool_size": 4},
        "paint": {"batch_size": 2},
        "inpaint_lora": {"steps": 4, "candidates": 3, "training": {**TRAINING, **(training or {})}},
    }
    return Params.model_validate({**content, **blocks})


def places_of(inputs: Inputs, count: int, strength: float = 2.0) -> list[Place]:
    cleans = inputs.clean("plate", TRAIN)
    places = []
    for number in range(count):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[10 + 4 * number : 34 + 4 * number, 16:40] = True
        kind, clean = ("spot", "flake")[number % 2], cleans[number]
        spec = SampleSpec(str(number), "plates", "plate", kind, number, clean.image_id, "perlin", strength, 70 + number)
        places.append(Place(spec, clean, DrawnMask(mask, "perlin")))
    return places


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    inpaint_lora.fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


@pytest.fixture(scope="module")
def model(fitted: Path, inputs: Inputs) -> inpaint_lora.Model:
    return inpaint_lora.load(inputs, params_with(), fitted, HOST)


def latents_of(model: inpaint_lora.Model, places: list[Place], params: Params) -> torch.Tensor:
    latents = inpaint_lora.paint(model, places, params).latents
    assert latents is not None
    return latents


def test_seeds_give_other_defects_and_the_same_surroundings(model: inpaint_lora.Model, inputs: Inputs) -> None:
    params = params_with()
    place = places_of(inputs, 1)[0]
    places = [replace(place, spec=replace(place.spec, seed=seed)) for seed in (1, 2)]
    images = fit_in(inpaint_lora.paint(model, places, params), places, params.adapt)
    outside = ndimage.distance_transform_edt(~place.mask) > params.adapt.feather
    for image in images:
        assert np.array_equal(image[outside], place.clean.image[outside])
    change = np.abs(images[0].astype(int) - images[1].astype(int))[place.mask].mean()
    assert change > 5


def test_samples_depend_on_their_address_alone(model: inpaint_lora.Model, inputs: Inputs) -> None:
    places = places_of(inputs, 3)
    all_three = latents_of(model, places, params_with())
    assert torch.equal(latents_of(model, places[2:], params_with()), all_three[2:])
    assert torch.equal(latents_of(model, places[:1], params_with()), all_three[:1])


def test_strength_orders_how_far_a_defect_is_from_the_clean_image(model: inpaint_lora.Model, inputs: Inputs) -> None:
    one = params_with(inpaint_lora={"steps": 4, "candidates": 1, "training": TRAINING})
    plain = latents_of(model, places_of(inputs, 4, 0.0), one)
    far = [(latents_of(model, places_of(inputs, 4, g), one) - plain).square().mean() for g in (0.5, 1.5, 4.0, 8.0)]
    assert far == sorted(far)
    assert far[0] > 0


def test_a_short_chain_stays_near_the_real_defect_it_starts_from(model: inpaint_lora.Model, inputs: Inputs) -> None:
    places = places_of(inputs, 4, 1.0)
    covering = [replace(place, spec=replace(place.spec, strength=1.0)) for place in places]
    pasted = crop_paste.paint(model.cuts, covering, params_with()).images
    assert pasted is not None
    cleans = to_tensor([place.clean.image for place in places])
    exemplars = inpaint_lora.filling_of(model, places, cleans, pasted, InpaintLoraParams(start=1.0)).exemplars
    cells = cells_of(mask_tensor([place.mask for place in places]))

    def distance(start: float) -> float:
        block = {"steps": 8, "start": start, "candidates": 1, "training": TRAINING}
        latents = latents_of(model, places, params_with(inpaint_lora=block))
        return float(((latents - exemplars).square() * cells).mean())

    assert distance(0.15) < distance(0.5) < distance(1.0)


def test_no_candidate_below_the_median_is_kept(model: inpaint_lora.Model, inputs: Inputs) -> None:
    places = places_of(inputs, 2)
    cleans = to_tensor([place.clean.image for place in places])
    masks = mask_tensor([place.mask for place in places])

    def distance(latents: torch.Tensor) -> torch.Tensor:
        return distances_inside(decode_plain(model.codec, latents), cleans, masks)

    params = params_with()
    sampler = sampling_schedule(model.schedule, "dpm-solver++", params.of(InpaintLoraParams).steps)
    filling = inpaint_lora.filling_of(model, places, cleans, cleans, InpaintLoraParams(start=1.0))
    draws = [inpaint_lora.draw_of(model, places, filling, n, params.of(InpaintLoraParams)) for n in range(3)]
    all_three = torch.stack([distance(fill_holes(model.network, model.schedule, sampler, filling, d)) for d in draws])
    kept = distance(latents_of(model, places, params))
    assert (kept >= all_three.median(dim=0).values).all()
    assert len(all_three.unique()) == all_three.numel()


def test_the_defects_type_is_told(model: inpaint_lora.Model, inputs: Inputs) -> None:
    place = places_of(inputs, 1)[0]
    other = replace(place, spec=replace(place.spec, defect_type="flake"))
    assert not torch.equal(latents_of(model, [place], params_with()), latents_of(model, [other], params_with()))


def test_the_backbone_stays_as_it_was_fitted(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    codec_training.fit_codec(inputs, params_with(), tmp_path, HOST, silent)
    pseudo_store.fit_pseudo_masks(inputs, params_with(), tmp_path, silent)
    text_backbone.fit_backbone(inputs, params_with(), tmp_path, HOST, silent)
    assert file_sha256(tmp_path / BACKBONE) == file_sha256(fitted / BACKBONE)
    saved = load_file(fitted / inpaint_lora.ADAPTERS)
    assert all("lora_" in name or name in ("learned", "looks.mean", "looks.spread") for name in saved)


def test_training_survives_a_kill_and_is_not_done_twice(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die_in_training(what: str, done: int, steps: int) -> None:
        if what == "training the painter" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        inpaint_lora.fit(inputs, params_with(), tmp_path, HOST, die_in_training)
    assert not (tmp_path / inpaint_lora.ADAPTERS).exists()
    said: list[tuple[str, int]] = []
    inpaint_lora.fit(inputs, params_with(), tmp_path, HOST, lambda what, done, steps: said.append((what, done)))
    assert [done for what, done in said if what == "training the painter"] == [3, 4]
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {path.name for path in fitted.iterdir()}
    assert {file_sha256(tmp_path / name) for name in files} == {file_sha256(fitted / name) for name in files}
    said.clear()
    painted_otherwise = params_with(inpaint_lora={"candidates": 9, "strength": (1.0, 2.0), "training": TRAINING})
    inpaint_lora.fit(inputs, painted_otherwise, tmp_path, HOST, lambda what, done, steps: said.append((what, done)))
    assert said == []


def test_the_test_split_is_never_seen(inputs: Inputs, fitted: Path, tmp_path: Path) -> None:
    without = Inputs(tuple(image for image in inputs.images if image.split == TRAIN), (), inputs.sha256)
    inpaint_lora.fit(without, params_with(), tmp_path, HOST, silent)
    assert file_sha256(tmp_path / inpaint_lora.ADAPTERS) == file_sha256(fitted / inpaint_lora.ADAPTERS)


@pytest.mark.parametrize("channels_in", [4, 9])
def test_stable_diffusion_for_text_and_for_inpainting(inputs: Inputs, tmp_path: Path, channels_in: int) -> None:
    folder = save_tiny_pipeline(tmp_path / "pipeline")
    config = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config({**config, "in_channels": channels_in}).save_pretrained(folder / "unet")
    params = params_with(
        codec={"kind": "pretrained", "path": str(folder / "vae")},
        backbone={"kind": "pretrained", "path": str(folder)},
        inpaint_lora={"steps": 3, "candidates": 2, "scheduler": "ddim", "training": {**TRAINING, "steps": 2}},
    )
    inpaint_lora.fit(inputs, params, tmp_path / "models", HOST, silent)
    model = inpaint_lora.load(inputs, params, tmp_path / "models", HOST)
    assert model.network.backbone.takes_holes == (channels_in == 9)
    places = places_of(inputs, 1)
    (image,) = fit_in(inpaint_lora.paint(model, places, params), places, params.adapt)
    outside = ndimage.distance_transform_edt(~places[0].mask) > params.adapt.feather
    assert np.array_equal(image[outside], places[0].clean.image[outside])
    assert (image[places[0].mask] != places[0].clean.image[places[0].mask]).any()


def test_missing_parts_are_named(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match="no such weight file"):
        inpaint_lora.load(inputs, params_with(), tmp_path, HOST)
    with pytest.raises(DefectoryError, match=r"inpaint_lora\.safetensors: made for another backbone or rank"):
        inpaint_lora.load(inputs, params_with(training={"rank": 3}), fitted, HOST)
