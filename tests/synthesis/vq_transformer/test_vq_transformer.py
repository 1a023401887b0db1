"""VQ-Transformer behind the protocol, with tiny models of both codecs: what it keeps, and what is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import VQModel

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, InputImage, Place, SampleSpec
from tasks.files.hashing import file_sha256
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.params.registry import entry_of
from tasks.params.systems import VQTransformerParams
from tasks.progress import silent
from tasks.synthesis import system_named
from tasks.synthesis.vq_transformer import Model, fit, in_mask_nll, load, new_clean_images, paint, repaint_ids
from tasks.synthesis.vq_transformer.training import IMAGE_CODEC, PRIOR

SIZE = 64


def part(name: str, split: str, defect: bool) -> InputImage:
    """A striped plate, with a dark spot where it is defective."""
    generator = np.random.default_rng([ord(letter) for letter in name])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    plate = 140 + 20 * np.sin(columns / 3) + generator.normal(0, 2, (SIZE, SIZE))
    row, column = generator.uniform(20, 44, 2)
    spot = np.hypot(rows - row, columns - column) < 10
    plate = np.where(spot & defect, 20, plate)
    kind = "spot" if defect else CLEAN
    image = np.repeat(plate.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mask, whole = spot if defect else None, np.ones((SIZE, SIZE), bool)
    return InputImage(
        f"plate/{kind}/{name}", "plate", kind, split, name, image, mask, whole, name, name, "made", "Apache-2.0"
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    cleans = [part(f"clean{n}", TRAIN, False) for n in range(8)]
    defects = [part(f"spot{n}", TRAIN, True) for n in range(6)] + [part("held", TEST, True)]
    return Inputs(tuple(cleans + defects), (), "inputs")


def params_with(**codec: object) -> Params:
    prior = {"window": 6, "width": 32, "layers": 1, "heads": 2, "steps": 40, "batch_size": 12, "pool_size": 40}
    return Params.model_validate(
        {
            "dataset": {"name": "plates", "image_size": SIZE, "samples_per_category": 4, "shard_size": 4},
            "inputs": {"sources": [{"kind": "elpv"}]},
            "masks": {"sources": {"reference": 1.0}, "max_area": 0.3},
            "codec": {"fine_tune_steps": 0},
            "vq_transformer": {
                "codec": {"codebook_size": 32, "steps": 8, "batch_size": 2, "crop": 64, "checkpoint_every": 4, **codec},
                "prior": {**prior, "learning_rate": 1e-2, "ema_decay": 0.9, "checkpoint_every": 10},
            },
        }
    )


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


@pytest.fixture(scope="module")
def model(fitted: Path, inputs: Inputs) -> Model:
    return load(inputs, params_with(), fitted, HOST)


def places_of(inputs: Inputs, strength: float = 1.5, count: int = 3) -> list[Place]:
    places = []
    for number in range(count):
        clean = inputs.by_id(f"plate/{CLEAN}/clean{number}")
        mask = np.zeros((SIZE, SIZE), bool)
        mask[12 + 5 * number : 30 + 5 * number, 17:41] = True
        spec = SampleSpec(
            f"plate-{number}", "plates", "plate", "spot", number, clean.image_id, "reference", strength, 7 + number
        )
        places.append(Place(spec, clean, DrawnMask(mask, "reference")))
    return places


def test_tokens_whose_cell_the_mask_does_not_meet_stay_as_encoded(model: Model, inputs: Inputs) -> None:
    for place in places_of(inputs, strength=4.0):
        before, after = repaint_ids(model, place, params_with().of(VQTransformerParams))
        met = torch.from_numpy(place.mask.reshape(SIZE // 8, 8, SIZE // 8, 8).any(axis=(1, 3)))
        assert torch.equal(before[~met], after[~met])
        assert (before[met] != after[met]).any()


def test_samples_depend_on_their_address_alone(model: Model, inputs: Inputs) -> None:
    all_three = paint(model, places_of(inputs), params_with()).images
    last = paint(model, places_of(inputs)[2:], params_with()).images
    assert all_three is not None
    assert last is not None
    assert torch.equal(all_three[2], last[0])
    assert not torch.equal(all_three[0], all_three[1])


def test_more_strength_is_a_darker_spot(model: Model, inputs: Inputs) -> None:
    def level(strength: float) -> float:
        places = places_of(inputs, strength)
        images = paint(model, places, params_with()).images
        assert images is not None
        return sum(float(image[0][torch.from_numpy(p.mask)].mean()) for image, p in zip(images, places, strict=True))

    levels = [level(strength) for strength in (0.0, 1.0, 3.0)]
    assert levels[0] > levels[1] >= levels[2]


def test_a_defect_is_less_likely_than_the_clean_surface(model: Model, inputs: Inputs) -> None:
    held = inputs.by_id("plate/spot/held")
    assert held.mask is not None
    clean = inputs.by_id(f"plate/{CLEAN}/clean0")
    normal, odd = (in_mask_nll(model, "plate", image.image, held.mask) for image in (clean, held))
    assert 0 < normal < odd


def test_new_clean_images_come_one_by_one(model: Model) -> None:
    images = new_clean_images(model, "plate", 2, seed=3)
    assert np.array_equal(images[0], new_clean_images(model, "plate", 1, seed=3)[0])
    assert not np.array_equal(images[0], images[1])
    assert images[0].shape == (SIZE, SIZE, 3)
    assert images[0].mean() == pytest.approx(140, abs=25)


def test_fitting_again_makes_nothing(fitted: Path, inputs: Inputs) -> None:
    before = {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()}
    assert set(entry_of("vq_transformer").products) <= before.keys()
    assert {IMAGE_CODEC, PRIOR} <= before.keys()
    assert not any("checkpoint" in name for name in before)
    said: list[str] = []
    system_named("vq_transformer").fit(inputs, params_with(), fitted, HOST, lambda what, done, steps: said.append(what))
    assert {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()} == before
    assert said == []


@pytest.mark.parametrize(("what", "step"), [("training the codebook", 7), ("training the prior", 35)])
def test_fitting_survives_a_kill(what: str, step: int, fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(said: str, done: int, steps: int) -> None:
        if (said, done) == (what, step):
            raise Killed

    with pytest.raises(Killed):
        fit(inputs, params_with(), tmp_path, HOST, die)
    fit(inputs, params_with(), tmp_path, HOST, silent)
    assert {p.name: file_sha256(p) for p in tmp_path.iterdir()} == {p.name: file_sha256(p) for p in fitted.iterdir()}


def test_a_pretrained_codec_takes_the_same_way(inputs: Inputs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "vq"
    VQModel(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=16,
        norm_num_groups=4,
    ).save_pretrained(folder)
    params = params_with(kind="pretrained", path=str(folder))
    fit(inputs, params, tmp_path / "models", HOST, silent)
    assert not (tmp_path / "models" / IMAGE_CODEC).exists()
    model = load(inputs, params, tmp_path / "models", HOST)
    place = places_of(inputs)[0]
    before, after = repaint_ids(model, place, params.of(VQTransformerParams))
    met = torch.from_numpy(place.mask.reshape(SIZE // 8, 8, SIZE // 8, 8).any(axis=(1, 3)))
    assert torch.equal(before[~met], after[~met])
    assert paint(model, [place], params).images.shape == (1, 3, SIZE, SIZE)  # type: ignore[union-attr]


def test_missing_parts_are_named(inputs: Inputs, tmp_path: Path, fitted: Path) -> None:
    with pytest.raises(DefectoryError, match=r"codec\.safetensors: no such weight file"):
        load(inputs, params_with(), tmp_path, HOST)
    with pytest.raises(DefectoryError, match=r"vq_transformer\.codec\.path .*no VQModel"):
        load(inputs, params_with(kind="pretrained", path=str(tmp_path / "absent")), fitted, HOST)
