"""SDAS behind the protocol, with tiny models of all three kinds, on photographs of brick and gravel."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from scipy import ndimage
from skimage import data
from torch.nn import functional

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, Image, InputImage, Place, SampleSpec
from tasks.diffusion.latents import to_images, to_tensor
from tasks.files.hashing import file_sha256
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.params.systems import SdasParams
from tasks.progress import silent
from tasks.synthesis import sdas
from tasks.synthesis.sdas.denoiser import PretrainedCleanDenoiser, PromptedCleanDenoiser
from tasks.synthesis.sdas.training import CLEAN_DIFFUSION, encode_clean_pool
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.synthesis.fitted_in import fit_in

SIZE = 32
TRAINING = {"channels": [32, 64], "views_per_category": 8, "close_up_share": 0.25, "steps": 4, "checkpoint_every": 2}


def photograph(category: str, number: int, split: str, size: int, defect: bool = False) -> InputImage:
    surface = {"brick": data.brick, "gravel": data.gravel}[category]()
    row, column = np.random.default_rng(number).integers(0, 512 - 2 * size, 2)
    part = surface[row : row + 2 * size, column : column + 2 * size].reshape(size, 2, size, 2).mean(axis=(1, 3))
    kind = "hole" if defect else CLEAN
    return InputImage(
        image_id=f"{category}/{kind}/{number}",
        category=category,
        defect_type=kind,
        split=split,
        group=f"{category}{number}",
        image=np.repeat((0 * part if defect else part).astype(np.uint8)[..., None], 3, axis=2),
        mask=np.ones((size, size), bool) if defect else None,
        foreground=np.ones((size, size), bool),
        sha256=str(number),
        path=str(number),
        source="made",
        license="CC0-1.0",
    )


def inputs_of(size: int) -> Inputs:
    cleans = [photograph(category, n, TRAIN, size) for category in ("brick", "gravel") for n in range(24)]
    return Inputs((*cleans, photograph("brick", 99, TRAIN, size, defect=True)), (), "inputs")


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return inputs_of(SIZE)


def params_with(size: int = SIZE, codec: object = None, **block: object) -> Params:
    model = {**TRAINING, **(block.pop("model", {}))}  # type: ignore[dict-item]
    return Params.model_validate(
        {
            "dataset": {"name": "stones", "image_size": max(size, 32), "threads": 1},
            "inputs": {"sources": [{"kind": "elpv"}]},
            "codec": codec or {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
            "paint": {"batch_size": 4},
            "sdas": {"steps": 6, "model": model, **block},
        }
    )


def places_of(inputs: Inputs, count: int, strength: float = 0.3) -> list[Place]:
    """One place a clean image, half of its middle to be painted."""
    places = []
    for number in range(count):
        clean = [image for image in inputs.images if image.defect_type == CLEAN][number]
        spec = SampleSpec(str(number), "stones", clean.category, "any", number, clean.image_id, "", strength, number)
        mask = np.zeros(clean.foreground.shape, bool)
        mask[8:24, 10:22] = True
        places.append(Place(spec, clean, DrawnMask(mask, "strokes")))
    return places


def images_of(model: sdas.Model, places: list[Place], params: Params) -> list[Image]:
    return fit_in(sdas.paint(model, places, params), places, params.adapt)


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    sdas.fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


@pytest.fixture(scope="module")
def model(fitted: Path, inputs: Inputs) -> sdas.Model:
    return sdas.load(inputs, params_with(), fitted, HOST)


def test_small_images_are_painted_in_pixels_inside_the_mask_alone(model: sdas.Model, inputs: Inputs) -> None:
    params = params_with()
    assert model.codec is None
    places = places_of(inputs, 3)
    for image, place in zip(images_of(model, places, params), places, strict=True):
        outside = ndimage.distance_transform_edt(~place.mask) > params.adapt.feather
        assert np.array_equal(image[outside], place.clean.image[outside])
        assert (image[place.mask] != place.clean.image[place.mask]).any()


def test_what_is_painted_is_a_mixture_of_the_clean_twin_and_the_anomalous_image(
    model: sdas.Model, inputs: Inputs
) -> None:
    places = places_of(inputs, 4)
    cleans = to_tensor([place.clean.image for place in places])
    anomalous = sdas.anomalous(model, places, cleans, params_with())
    for opacity in (0.0, 0.7, 1.0):
        painted = sdas.paint(model, places, params_with(opacity=(opacity, opacity))).images
        assert painted is not None
        assert torch.allclose(painted, opacity * anomalous + (1 - opacity) * cleans, atol=1e-6)


def test_samples_depend_on_their_address_alone(model: sdas.Model, inputs: Inputs) -> None:
    params, places = params_with(), places_of(inputs, 6)
    all_six, last_two = images_of(model, places, params), images_of(model, places[4:], params)
    assert all(np.array_equal(a, b) for a, b in zip(all_six[4:], last_two, strict=True))
    other = [replace(place, spec=replace(place.spec, seed=77)) for place in places]
    assert not np.array_equal(all_six[0], images_of(model, other, params)[0])


def test_the_category_is_told(model: sdas.Model) -> None:
    denoiser = copy.deepcopy(model.denoiser)
    torch.nn.init.normal_(denoiser.get_parameter("unet.class_embedding.weight"))
    noisy, time = torch.randn(1, 3, SIZE, SIZE), torch.tensor([500])
    first, second = (denoiser(noisy, time, torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(first, second)


def test_only_clean_images_of_the_train_split_are_learned_from(inputs: Inputs) -> None:
    held = photograph("brick", 98, TEST, SIZE)
    held = replace(held, image=np.full_like(held.image, 255))
    pool, with_held = (
        encode_clean_pool(given, params_with().of(SdasParams).model, None, 0, silent)
        for given in (inputs, replace(inputs, images=(*inputs.images, held)))
    )
    assert pool.categories.tolist() == [0] * 8 + [1] * 8
    assert torch.equal(pool.images, with_held.images)
    assert (pool.images.amax(dim=(1, 2, 3)) > -1).all()  # the defect is black


def test_training_survives_a_kill_and_is_not_done_twice(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die_in_training(what: str, done: int, steps: int) -> None:
        if what == "training on clean images" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        sdas.fit(inputs, params_with(), tmp_path, HOST, die_in_training)
    assert not (tmp_path / CLEAN_DIFFUSION).exists()
    said: list[tuple[str, int]] = []
    sdas.fit(inputs, params_with(), tmp_path, HOST, lambda what, done, steps: said.append((what, done)))
    assert [done for what, done in said if what == "training on clean images"] == [3, 4]
    assert file_sha256(tmp_path / CLEAN_DIFFUSION) == file_sha256(fitted / CLEAN_DIFFUSION)
    said.clear()
    other = params_with(steps=9, start=1.0, strength=(0.0, 2.0))
    sdas.fit(inputs, other, tmp_path, HOST, lambda what, done, steps: said.append((what, done)))
    assert said == []


def test_the_distance_to_the_normals_grows_with_the_strength(tmp_path: Path) -> None:
    """Of samples as they are painted, and of RealNet's, which begin as pure noise."""
    inputs = inputs_of(16)
    trained = {"views_per_category": 24, "close_up_share": 0.0, "steps": 80, "batch_size": 8, "learning_rate": 3e-3}
    model_params = {**trained, "channels": [32, 32], "ema_decay": 0.9}
    sdas.fit(inputs, params_with(16, model=model_params), tmp_path, HOST, silent)
    model = sdas.load(inputs, params_with(16, model=model_params), tmp_path, HOST)
    places = places_of(inputs, 48)
    places += [replace(place, spec=replace(place.spec, seed=1000 + n)) for n, place in enumerate(places[:16])]
    for setting in ({}, {"start": 1.0, "anchored": False, "grain": 1}):
        params = params_with(16, **{"steps": 10, **setting})
        distances = [distance_at(strength, model, places, params) for strength in (0.0, 0.05, 0.1, 0.2, 0.4)]
        assert all(less < more for less, more in pairwise(distances)), distances


def distance_at(strength: float, model: sdas.Model, places: list[Place], params: Params) -> float:
    given = [replace(place, spec=replace(place.spec, strength=strength)) for place in places]
    cleans = to_tensor([place.clean.image for place in given])
    return distance_to_normals(sdas.anomalous(model, given, cleans, params), cleans[:48])


def distance_to_normals(samples: torch.Tensor, normals: torch.Tensor) -> float:
    """The mean distance of a sample's patches to the nearest patch of any normal image, as PatchCore's."""
    patches, bank = (
        functional.unfold(images[:, :1], 5, stride=3).transpose(1, 2).flatten(0, 1) for images in (samples, normals)
    )
    return float(torch.cdist(patches, bank).amin(dim=1).mean())


def test_larger_images_are_painted_in_latents(tmp_path: Path) -> None:
    size = 96
    inputs, params = inputs_of(size), params_with(size)
    sdas.fit(inputs, params, tmp_path, HOST, silent)
    model, places = sdas.load(inputs, params, tmp_path, HOST), places_of(inputs, 2)
    painted = sdas.paint(model, places, params)
    assert painted.latents is not None
    assert painted.latents.shape == (2, 8, size // 8, size // 8)
    for image, place in zip(fit_in(painted, places, params.adapt), places, strict=True):
        outside = ndimage.distance_transform_edt(~place.mask) > params.adapt.feather
        assert np.array_equal(image[outside], place.clean.image[outside])


def save_ddpm_pipeline(folder: Path, predicts_variance: bool) -> UNet2DModel:
    torch.manual_seed(0)
    unet = UNet2DModel(
        out_channels=6 if predicts_variance else 3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    unet.save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "scheduler")
    return unet.eval()


@pytest.mark.parametrize("predicts_variance", [False, True], ids=["DDPM", "ADM"])
def test_a_pretrained_pixel_model_begins_as_it_was_and_is_trained_on(
    predicts_variance: bool, inputs: Inputs, tmp_path: Path
) -> None:
    unet = save_ddpm_pipeline(tmp_path / "ddpm", predicts_variance)
    params = params_with(model={"kind": "pretrained", "path": str(tmp_path / "ddpm"), "steps": 1})
    noisy, time = torch.randn(2, 3, SIZE, SIZE), torch.tensor([10, 500])
    with torch.no_grad():
        before = PretrainedCleanDenoiser(unet, 2)(noisy, time, torch.tensor([0, 1]))
        unet.class_embedding = None
        assert torch.equal(before, unet(noisy, time).sample[:, :3])
    sdas.fit(inputs, params, tmp_path / "models", HOST, silent)
    model = sdas.load(inputs, params, tmp_path / "models", HOST)
    assert model.schedule.config.prediction_type == "epsilon"
    with torch.no_grad():
        assert not torch.equal(model.denoiser(noisy, time, torch.tensor([0, 1])), before)
    painted = sdas.paint(model, places_of(inputs, 3), params)
    assert painted.images is not None
    assert len(to_images(painted.images)) == 3


def test_a_stable_diffusion_backbone_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = save_tiny_pipeline(tmp_path / "pipeline")
    inputs = inputs_of(64)
    codec = {"kind": "pretrained", "path": str(folder / "vae")}
    backbone = {"kind": "pretrained", "path": str(folder), "space": "latent"}
    params = params_with(64, codec, model=backbone)
    sdas.fit(inputs, params, tmp_path / "models", HOST, silent)
    assert not (tmp_path / "models" / CLEAN_DIFFUSION).exists()
    model = sdas.load(inputs, params, tmp_path / "models", HOST)
    assert isinstance(model.denoiser, PromptedCleanDenoiser)
    assert not torch.equal(*model.denoiser.prompts)
    assert len(images_of(model, places_of(inputs, 3), params)) == 3
    with pytest.raises(DefectoryError, match=r"takes 4 channels, the images here have 3; sdas\.model\.space"):
        sdas.load(inputs, params_with(64, codec, model={**backbone, "space": "pixel"}), tmp_path / "models", HOST)


def test_missing_parts_are_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"clean_diffusion\.safetensors: no such weight file"):
        sdas.load(inputs, params_with(), tmp_path, HOST)
    with pytest.raises(DefectoryError, match=r"sdas\.model\.path .*could not be loaded"):
        sdas.fit(
            inputs, params_with(model={"kind": "pretrained", "path": str(tmp_path / "none")}), tmp_path, HOST, silent
        )


def test_a_model_of_other_params_is_refused(fitted: Path, inputs: Inputs) -> None:
    with pytest.raises(DefectoryError, match="made for another architecture"):
        sdas.load(inputs, params_with(model={"channels": [32, 96]}), fitted, HOST)
