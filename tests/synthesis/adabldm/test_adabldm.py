"""AdaBLDM behind the protocol, with tiny models of both backbones: what it keeps, and that nothing is made twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from scipy import ndimage
from torch import nn

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, Image, InputImage, Place
from tasks.diffusion import pool as pool_module
from tasks.diffusion.pool import Pool
from tasks.diffusion.schedule import training_schedule
from tasks.files.hashing import file_sha256
from tasks.files.names import CODEC, DENOISER, PSEUDO_MASKS
from tasks.inputs.dataset import Inputs
from tasks.masks.pseudo_store import read_pseudo_masks
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.params.systems import AdaBLDMParams
from tasks.plan import plan_samples
from tasks.progress import silent
from tasks.synthesis import system_named
from tasks.synthesis.adabldm import Model, fit, load, paint
from tasks.synthesis.adabldm.denoiser import PretrainedDenoiser
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.synthesis.fitted_in import fit_in

CHECKPOINT = "denoiser.checkpoint.safetensors"
SIZE = 64


def part(name: str, split: str, defect: bool) -> InputImage:
    """A striped plate, with a dark spot where it is defective; image labels only."""
    generator = np.random.default_rng([ord(letter) for letter in name])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    plate = 140 + 20 * np.sin(columns / 3) + generator.normal(0, 2, (SIZE, SIZE))
    if defect:
        row, column = generator.uniform(20, 44, 2)
        plate = np.where(np.hypot(rows - row, columns - column) < 7, plate * 0.3, plate)
    kind = "spot" if defect else CLEAN
    return InputImage(
        image_id=f"plate/{kind}/{name}",
        category="plate",
        defect_type=kind,
        split=split,
        group=name,
        image=np.repeat(plate.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2),
        mask=None,
        foreground=np.ones((SIZE, SIZE), bool),
        sha256=name,
        path=name,
        source="made",
        license="Apache-2.0",
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    cleans = [part(f"clean{n}", TRAIN, False) for n in range(12)]
    defects = [part(f"spot{n}", TRAIN, True) for n in range(4)] + [part("held", TEST, True)]
    return Inputs(tuple(cleans + defects), (), "inputs")


def params_with(**blocks: object) -> Params:
    content = {
        "dataset": {"name": "plates", "image_size": SIZE, "samples_per_category": 5, "shard_size": 5},
        "inputs": {"sources": [{"kind": "elpv"}]},
        "masks": {"sources": {"strokes": 0.5, "reference": 0.5}, "min_area": 0.005},
        "codec": {"fine_tune_steps": 2, "batch_size": 2, "crop": 32},
        "denoiser": {"channels": [32, 64], "steps": 4, "batch_size": 2, "pool_size": 8, "checkpoint_every": 2},
        "paint": {"batch_size": 2},
        "adabldm": {"steps": 4},
    }
    return Params.model_validate({**content, **blocks})


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


def places_of(inputs: Inputs, params: Params, count: int = 5) -> list[Place]:
    places = []
    for number, spec in enumerate(plan_samples(params, inputs)[:count]):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[10 + 4 * number : 24 + 4 * number, 16:30] = True
        places.append(Place(spec, inputs.by_id(spec.clean_id), DrawnMask(mask, "strokes")))
    return places


def images_of(model: Model, places: list[Place], params: Params) -> list[Image]:
    return fit_in(paint(model, places, params), places, params.adapt)


def assert_clean_outside(image: Image, place: Place, feather: int) -> None:
    outside = ndimage.distance_transform_edt(~place.mask) > feather
    assert np.array_equal(image[outside], place.clean.image[outside])
    assert (image[place.mask] != place.clean.image[place.mask]).any()


def test_outside_mask_and_ring_every_image_is_its_clean_twin(fitted: Path, inputs: Inputs) -> None:
    params = params_with()
    places = places_of(inputs, params)
    for image, place in zip(images_of(load(inputs, params, fitted, HOST), places, params), places, strict=True):
        assert_clean_outside(image, place, params.adapt.feather)


def test_samples_depend_on_their_address_alone(fitted: Path, inputs: Inputs) -> None:
    params = params_with()
    model, places = load(inputs, params, fitted, HOST), places_of(inputs, params)
    all_five = images_of(model, places, params)
    last_three = images_of(model, places[2:], params)
    assert all(np.array_equal(a, b) for a, b in zip(all_five[2:], last_three, strict=True))
    assert not np.array_equal(all_five[0], all_five[1])


def test_strength_orders_the_results(fitted: Path, inputs: Inputs) -> None:
    """How far the painted latents are from those painted for the clean label, which strength 0 stands for."""
    params = params_with(adabldm={"steps": 4, "scheduler": "ddim"})
    model, places = load(inputs, params, fitted, HOST), places_of(inputs, params)
    # Trained for seconds, the denoiser hardly tells its labels apart: make it louder.
    nn.init.normal_(model.denoiser.unet.conv_out.weight, std=0.1, generator=torch.Generator().manual_seed(2))

    def painted(strength: float) -> torch.Tensor:
        stronger = [replace(place, spec=replace(place.spec, strength=strength)) for place in places]
        latents = paint(model, stronger, params).latents
        assert latents is not None
        return latents

    calm = painted(0.0)
    changes = torch.stack([(painted(strength) - calm).abs().mean(dim=(1, 2, 3)) for strength in (0.7, 1.4, 3.0)])
    assert (changes.diff(dim=0) > 0).all()
    low, high = params_with().of(AdaBLDMParams).strength
    assert all(low <= place.spec.strength <= high for place in places)


def test_fitting_again_makes_nothing(fitted: Path, inputs: Inputs) -> None:
    before = {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()}
    assert {CODEC, DENOISER, PSEUDO_MASKS} <= before.keys()
    assert CHECKPOINT not in before
    said: list[str] = []
    fit(inputs, params_with(), fitted, HOST, lambda what, done, steps: said.append(what))
    assert {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()} == before
    assert said == []


def test_fitting_is_reproducible_and_survives_a_kill(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die_in_training(what: str, done: int, steps: int) -> None:
        if what == "training the denoiser" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(inputs, params_with(), tmp_path, HOST, die_in_training)
    assert (tmp_path / CHECKPOINT).is_file()
    assert not (tmp_path / DENOISER).exists()
    fit(inputs, params_with(), tmp_path, HOST, silent)
    assert {p.name: file_sha256(p) for p in tmp_path.iterdir()} == {p.name: file_sha256(p) for p in fitted.iterdir()}


def test_other_params_train_again(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    for name in (CODEC, PSEUDO_MASKS, DENOISER):
        for file in (name, f"{name}.made.json"):
            (tmp_path / file).write_bytes((fitted / file).read_bytes())
    other = params_with(denoiser={**params_with().denoiser.model_dump(), "steps": 5})
    said: set[str] = set()
    fit(inputs, other, tmp_path, HOST, lambda what, done, steps: said.add(what))
    assert "training the denoiser" in said
    assert "fine-tuning the codec" not in said
    assert file_sha256(tmp_path / CODEC) == file_sha256(fitted / CODEC)
    assert file_sha256(tmp_path / DENOISER) != file_sha256(fitted / DENOISER)


def test_pseudo_masks_stand_in_for_image_labels_and_never_for_test_images(fitted: Path) -> None:
    rows = read_pseudo_masks(fitted / PSEUDO_MASKS)
    assert [row.image_id for row in rows] == [f"plate/spot/spot{n}" for n in range(4)]
    for row in rows:
        dark = row.image[..., 0] < 90
        assert (row.mask & dark).sum() / (row.mask | dark).sum() > 0.5


def pretrained_params(folder: Path) -> Params:
    return params_with(
        codec={"kind": "pretrained", "path": str(folder / "vae")},
        denoiser={"kind": "pretrained", "path": str(folder), "steps": 2, "batch_size": 2, "pool_size": 4},
        adabldm={"steps": 3, "scheduler": "ddim"},
    )


def test_a_stable_diffusion_backbone_takes_the_same_way(inputs: Inputs, tmp_path: Path) -> None:
    params = pretrained_params(save_tiny_pipeline(tmp_path / "pipeline"))
    fit(inputs, params, tmp_path / "models", HOST, silent)
    places = places_of(inputs, params, 3)
    images = images_of(load(inputs, params, tmp_path / "models", HOST), places, params)
    for image, place in zip(images, places, strict=True):
        assert_clean_outside(image, place, params.adapt.feather)


def test_a_stable_diffusion_backbone_is_fitted_and_painted_on_its_own_noise_schedule(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of which all latents are 4: the mean of what the denoiser is shown says how they were noised."""
    folder = save_tiny_pipeline(tmp_path / "pipeline")
    params = pretrained_params(folder)
    trimaps = torch.ones(4, 1, SIZE * 4, SIZE * 4, dtype=torch.uint8)
    pool = Pool(torch.full((4, 4, SIZE // 2, SIZE // 2), 4.0).half(), trimaps, torch.zeros(4).long())
    monkeypatch.setattr(pool_module, "encode_pool", lambda *arguments: pool)
    means: list[torch.Tensor] = []
    timesteps: list[torch.Tensor] = []

    def remember(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, PretrainedDenoiser):
            means.append(arguments[0].mean(dim=(1, 2, 3)))
            timesteps.append(arguments[1])

    with nn.modules.module.register_module_forward_pre_hook(remember):
        fit(inputs, params, tmp_path / "models", HOST, silent)
    own = DDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod
    signal, at = torch.cat(means) / 4, torch.cat(timesteps)
    assert torch.allclose(signal, own[at].sqrt(), atol=0.03)
    assert not torch.allclose(signal, training_schedule().alphas_cumprod[at].sqrt(), atol=0.03)
    assert torch.allclose(load(inputs, params, tmp_path / "models", HOST).schedule.alphas_cumprod, own)


def test_missing_parts_are_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"codec\.safetensors: no such weight file"):
        load(inputs, params_with(), tmp_path, HOST)
    absent = params_with(denoiser={"kind": "pretrained", "path": str(tmp_path / "absent")})
    with pytest.raises(DefectoryError, match=r"denoiser\.path .*could not be loaded"):
        fit(inputs, absent, tmp_path, HOST, silent)
    with pytest.raises(DefectoryError, match="did you mean 'adabldm'"):
        system_named("adabdlm")
