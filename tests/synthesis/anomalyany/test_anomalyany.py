"""AnomalyAny behind the protocol, with tiny models of both kinds: what is fitted, what is painted, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, InputImage, Place, SampleSpec
from tasks.diffusion.latents import to_tensor
from tasks.diffusion.pool import label_table
from tasks.files.hashing import file_sha256
from tasks.files.names import BACKBONE
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.progress import silent
from tasks.synthesis import anomalyany
from tasks.synthesis.anomalyany.descriptions import DESCRIPTIONS, load_descriptions, sentence_for, shipped
from tasks.synthesis.anomalyany.text_image_training import TEXT_IMAGE, load_text_image
from tasks.synthesis.fitted import fitted_sha256, mark_fitted
from tests.synthesis.anomalyany.tiny_clip import save_tiny_clip
from tests.synthesis.fitted_in import fit_in

SIZE = 64
PROMPT = "a {category} {defect_type}"
KINDS = {"spot": 20, "flake": 245}
PUBLIC = {"bottle": 3, "cable": 8, "screw": 5, "zipper": 7, "pcb4": 5, "tubes": 1, "01": 1, "magnetic_tile": 5}


def part(name: str, kind: str, split: str = TRAIN) -> InputImage:
    """A plate with brushed lines; a spot is dark, a flake is bright."""
    generator = np.random.default_rng([ord(letter) for letter in name])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    plate = 130 + 20 * np.sin(columns / 3) + generator.normal(0, 2, (SIZE, SIZE))
    mask = np.hypot(rows - generator.uniform(20, 44), columns - generator.uniform(20, 44)) < 10
    plate = np.where(mask, KINDS.get(kind, 0), plate) if kind in KINDS else plate
    image = np.repeat(plate.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    shown, whole = mask if kind != CLEAN else None, np.ones((SIZE, SIZE), bool)
    return InputImage(f"nut/{kind}/{name}", "nut", kind, split, name, image, shown, whole, name, name, "made", "")


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    seen = [part(f"{kind}{number}", kind) for kind in (CLEAN, *KINDS) for number in range(6)]
    held = [part(f"held-{kind}{number}", kind, TEST) for kind in (CLEAN, *KINDS) for number in range(4)]
    return Inputs((*seen, *held), (), "inputs")


def params_with(system: dict[str, object] | None = None, **blocks: object) -> Params:
    small = {"steps": 3, "text_image_pool": 48, "text_image_steps": 60, "attention_side": 4, "attention_updates": 1}
    content = {
        "dataset": {"name": "nuts", "image_size": SIZE, "threads": 1},
        "inputs": {"sources": [{"kind": "elpv"}]},
        "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
        "backbone": {"channels": [32, 64], "steps": 2, "batch_size": 2, "pool_size": 4, "prompt": PROMPT},
        "paint": {"batch_size": 2, "systems": {"anomalyany": 1.0}},
        "anomalyany": {**small, **(system or {})},
    }
    return Params.model_validate({**content, **blocks})


def places_of(inputs: Inputs, count: int, strength: float = 0.7) -> list[Place]:
    places = []
    for number, clean in enumerate(inputs.clean("nut", TRAIN)[:count]):
        mask = np.zeros((SIZE, SIZE), bool)
        mask[10 + 4 * number : 34 + 4 * number, 16:40] = True
        kind = sorted(KINDS)[number % 2]
        spec = SampleSpec(str(number), "nuts", "nut", kind, number, clean.image_id, "perlin", strength, 70 + number)
        places.append(Place(spec, clean, DrawnMask(mask, "perlin")))
    return places


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    anomalyany.fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


def test_outside_of_mask_and_ring_every_image_is_its_clean_twin(fitted: Path, inputs: Inputs) -> None:
    params, places = params_with(), places_of(inputs, 3)
    painted = anomalyany.paint(anomalyany.load(inputs, params, fitted, HOST), places, params)
    for image, place in zip(fit_in(painted, places, params.adapt), places, strict=True):
        outside = ndimage.distance_transform_edt(~place.mask) > params.adapt.feather
        assert np.array_equal(image[outside], place.clean.image[outside])
        assert (image[place.mask] != place.clean.image[place.mask]).any()


def test_samples_depend_on_their_address_alone(fitted: Path, inputs: Inputs) -> None:
    params, places = params_with(), places_of(inputs, 3)
    model = anomalyany.load(inputs, params, fitted, HOST)
    together, alone = (anomalyany.paint(model, some, params).latents for some in (places, places[1:2]))
    assert together is not None
    assert alone is not None
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_a_larger_strength_changes_more(fitted: Path, inputs: Inputs) -> None:
    params = params_with({"attention_rate": 0.0, "refinement_rate": 0.0})
    model = anomalyany.load(inputs, params, fitted, HOST)
    changes = []
    for strength in (0.1, 0.4, 0.9):
        places = places_of(inputs, 2, strength)
        latents = anomalyany.paint(model, places, params).latents
        changes.append((latents - anomalyany.edit_of(model, places, params).chain.clean).abs().mean().item())
    assert 0 < changes[0] < changes[1] < changes[2]


def test_fitting_again_makes_nothing(fitted: Path, inputs: Inputs) -> None:
    before = {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()}
    assert {DESCRIPTIONS, BACKBONE, TEXT_IMAGE} <= before.keys()
    said: list[str] = []
    anomalyany.fit(inputs, params_with(), fitted, HOST, lambda what, done, steps: said.append(what))
    assert {path.name: (path.stat().st_mtime_ns, file_sha256(path)) for path in fitted.iterdir()} == before
    assert said == []


def test_the_embedded_text_image_model_knows_held_out_defects(fitted: Path, inputs: Inputs) -> None:
    descriptions, table = load_descriptions(fitted), label_table(inputs)
    model = load_text_image(inputs, params_with(), descriptions, fitted, HOST)
    held = [image for image in inputs.images if image.split == TEST]
    with torch.no_grad():
        images = model.of_images(to_tensor([image.image for image in held]))
        found = (images @ model.of_texts([descriptions[pair[0]][pair[1]] for pair in table.pairs]).T).argmax(dim=1)
    wanted = torch.tensor([table.index(image.category, image.defect_type) for image in held])
    assert (found == wanted).float().mean() >= 0.75


def test_other_words_make_another_model(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    def fitted_with(params: Params, folder: Path) -> str:
        anomalyany.fit(inputs, params, folder, HOST, silent)
        mark_fitted(params, inputs, folder)
        return fitted_sha256(params, inputs, folder)

    pretrained: dict[str, object] = {"text_image_kind": "pretrained"}
    own = params_with({**pretrained, "descriptions": {"nut": {"spot": "a nut with a black blot"}}})
    for path in fitted.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert fitted_with(params_with(pretrained), tmp_path) != fitted_with(own, tmp_path)
    assert load_descriptions(tmp_path)["nut"]["spot"] == "a nut with a black blot"


def test_a_stable_diffusion_backbone_and_clip_take_the_same_way(inputs: Inputs, tmp_path: Path) -> None:
    clip = save_tiny_clip(tmp_path / "clip")
    pipeline = clip / "pipeline"
    params = params_with(
        {"text_image_kind": "pretrained", "text_image_path": str(clip)},
        codec={"kind": "pretrained", "path": str(pipeline / "vae")},
        backbone={"kind": "pretrained", "path": str(pipeline), "prompt": PROMPT},
    )
    anomalyany.fit(inputs, params, tmp_path, HOST, silent)
    assert not (tmp_path / TEXT_IMAGE).exists()
    assert not (tmp_path / BACKBONE).exists()
    places = places_of(inputs, 2)
    painted = anomalyany.paint(anomalyany.load(inputs, params, tmp_path, HOST), places, params)
    image = fit_in(painted, places, params.adapt)[0]
    assert (image[places[0].mask] != places[0].clean.image[places[0].mask]).any()


def test_a_defect_that_the_backbone_never_saw_is_refused(fitted: Path, inputs: Inputs, tmp_path: Path) -> None:
    params = params_with()
    with pytest.raises(DefectoryError, match=r"descriptions\.json: no such descriptions"):
        anomalyany.load(inputs, params, tmp_path, HOST)
    for path in fitted.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / DESCRIPTIONS).write_text('{"nut": {"dent": "a nut with a dent"}}')
    with pytest.raises(DefectoryError, match="does not know 'dent' in its prompt 'a nut dent'"):
        anomalyany.load(inputs, params, tmp_path, HOST)


def test_the_public_categories_are_described() -> None:
    for category, count in PUBLIC.items():
        assert len(shipped()[category]) == count
    assert all(isinstance(text, str) and text for kinds in shipped().values() for text in kinds.values())
    assert sentence_for("my_nut", "crack", {}).startswith("a close photo of a my nut with a thin dark")
    assert sentence_for("nut", "odd_type", {}) == "a close photo of a nut with odd type"
    assert sentence_for("bottle", "broken_small", {"bottle": {"broken_small": "a chip"}}) == "a chip"
    assert sentence_for("bottle", CLEAN, {}) == "a photo of a flawless bottle"


def test_no_category_is_described_twice() -> None:
    text = (Path(anomalyany.__file__).with_name("descriptions.yaml")).read_text(encoding="utf-8")
    keys = [key.value for key, _ in yaml.compose(text).value]
    assert len(keys) == len(set(keys)) == 41
