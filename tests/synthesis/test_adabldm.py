"""AdaBLDM behind the protocol, with tiny models of both backbones: what it keeps, and that nothing is made twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, Image, InputImage, Mask
from tasks.diffusion.fitting import CHECKPOINT, CODEC, DENOISER
from tasks.diffusion.products import file_sha256
from tasks.inputs.store import Inputs
from tasks.masks.pseudo_store import PSEUDO_MASKS, read_pseudo_masks
from tasks.params import Params
from tasks.plan import plan_samples
from tasks.synthesis import system_named
from tasks.synthesis.adabldm import Model, finish, fit, load, paint
from tests.synthesis.tiny_stable_diffusion import save_tiny_pipeline

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
        "paint": {"steps": 4, "batch_size": 2},
    }
    return Params.model_validate({**content, **blocks})


def silent(what: str, done: int, steps: int) -> None:
    pass


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    fit(inputs, params_with(), workdir, silent)
    return workdir


def images_of(model: Model, inputs: Inputs, params: Params, count: int = 5) -> tuple[list[Image], list[Mask]]:
    specs = plan_samples(params, inputs)[:count]
    cleans = [inputs.by_id(spec.clean_id) for spec in specs]
    masks = []
    for number in range(count):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[10 + 4 * number : 24 + 4 * number, 16:30] = True
        masks.append(mask)
    return finish(model, paint(model, specs, cleans, masks, params), cleans, masks, params), masks


def test_outside_mask_and_ring_every_image_is_its_clean_twin(fitted: Path, inputs: Inputs) -> None:
    params = params_with()
    images, masks = images_of(load(inputs, params, fitted), inputs, params)
    for image, mask, spec in zip(images, masks, plan_samples(params, inputs), strict=True):
        clean = inputs.by_id(spec.clean_id).image
        outside = ndimage.distance_transform_edt(~mask) > params.adapt.feather
        assert np.array_equal(image[outside], clean[outside])
        assert (image[mask] != clean[mask]).any()


def test_samples_depend_on_their_address_alone(fitted: Path, inputs: Inputs) -> None:
    params = params_with()
    model = load(inputs, params, fitted)
    all_five, _ = images_of(model, inputs, params)
    first_three, _ = images_of(model, inputs, params, count=3)
    assert all(np.array_equal(a, b) for a, b in zip(all_five, first_three, strict=False))
    assert not np.array_equal(all_five[0], all_five[1])


def test_fitting_again_makes_nothing(fitted: Path, inputs: Inputs) -> None:
    before = {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()}
    assert {CODEC, DENOISER, PSEUDO_MASKS} <= before.keys()
    assert CHECKPOINT not in before
    said: list[str] = []
    fit(inputs, params_with(), fitted, lambda what, done, steps: said.append(what))
    assert {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()} == before
    assert said == []


def test_fitting_is_reproducible_and_survives_a_kill(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die_in_training(what: str, done: int, steps: int) -> None:
        if what == "training the denoiser" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(inputs, params_with(), tmp_path, die_in_training)
    assert (tmp_path / CHECKPOINT).is_file()
    assert not (tmp_path / DENOISER).exists()
    fit(inputs, params_with(), tmp_path, silent)
    assert {p.name: file_sha256(p) for p in tmp_path.iterdir()} == {p.name: file_sha256(p) for p in fitted.iterdir()}


def test_other_params_train_again(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    fit(inputs, params_with(), tmp_path, silent)
    before = load(inputs, params_with(), tmp_path).sha256
    assert before == load(inputs, params_with(), fitted).sha256
    other = params_with(denoiser={**params_with().denoiser.model_dump(), "steps": 5})
    fit(inputs, other, tmp_path, silent)
    assert load(inputs, other, tmp_path).sha256 != before


def test_pseudo_masks_stand_in_for_image_labels_and_never_for_test_images(fitted: Path) -> None:
    rows = read_pseudo_masks(fitted / PSEUDO_MASKS)
    assert [row.image_id for row in rows] == [f"plate/spot/spot{n}" for n in range(4)]
    for row in rows:
        dark = row.image[..., 0] < 90
        assert (row.mask & dark).sum() / (row.mask | dark).sum() > 0.5


def test_a_stable_diffusion_backbone_takes_the_same_way(inputs: Inputs, tmp_path: Path) -> None:
    folder = save_tiny_pipeline(tmp_path / "pipeline")
    params = params_with(
        codec={"kind": "pretrained", "path": str(folder / "vae")},
        denoiser={"kind": "pretrained", "path": str(folder), "steps": 2, "batch_size": 2, "pool_size": 4},
        paint={"steps": 3, "batch_size": 5, "scheduler": "ddim"},
    )
    fit(inputs, params, tmp_path / "models", silent)
    images, masks = images_of(load(inputs, params, tmp_path / "models"), inputs, params)
    clean = inputs.by_id(plan_samples(params, inputs)[0].clean_id).image
    outside = ndimage.distance_transform_edt(~masks[0]) > params.adapt.feather
    assert np.array_equal(images[0][outside], clean[outside])


def test_missing_parts_are_named(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"codec\.safetensors: no such weight file"):
        load(inputs, params_with(), tmp_path)
    absent = params_with(denoiser={"kind": "pretrained", "path": str(tmp_path / "absent")})
    with pytest.raises(DefectoryError, match=r"denoiser\.path .*could not be loaded"):
        fit(inputs, absent, tmp_path, silent)
    with pytest.raises(DefectoryError, match="did you mean 'adabldm'"):
        system_named("adabdlm")
