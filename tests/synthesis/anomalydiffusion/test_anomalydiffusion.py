"""AnomalyDiffusion behind the protocol, with tiny models of both backbones: the acceptance tests of its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, DrawnMask, InputImage, Mask, Place, SampleSpec
from tasks.diffusion.latents import cells_of, mask_tensor, to_tensor
from tasks.files.hashing import file_sha256
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST, lower_precision
from tasks.params import Params
from tasks.params.systems import AnomalyDiffusionParams
from tasks.progress import silent
from tasks.synthesis.anomalydiffusion import Model, fit, load, paint
from tasks.synthesis.anomalydiffusion.training import EMBEDDING
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.synthesis.fitted_in import fit_in
from tests.synthesis.places import blob, photograph

SIZE = 128
STEPS = 4


def part(name: str, kind: str = CLEAN, split: str = TRAIN) -> InputImage:
    """Stripes, with a hole or a scratch where the part is defective."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    stripes = (130 + 30 * np.sin(columns / 5 + len(name)))[..., None].repeat(3, axis=2)
    place = 40 + 6 * int(name[-1])
    shapes = {"hole": blob(place, 60, 12, SIZE), "scratch": (abs(rows - place) < 5) & (abs(columns - 64) < 40)}
    mask = shapes.get(kind)
    if mask is not None:
        stripes[mask] *= 0.2 if kind == "hole" else 1.5
    return photograph(name, kind, stripes.clip(0, 255).astype(np.uint8), mask, split)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    cleans = [part(f"clean{n}") for n in range(4)]
    defects = [part(f"{kind}{n}", kind) for kind in ("hole", "scratch") for n in range(2)]
    return Inputs((*cleans, *defects, part("held5", "hole", TEST)), (), "inputs")


def params_with(painting: dict[str, object] | None = None, **blocks: object) -> Params:
    training = {"steps": 4, "batch_size": 2, "pool_size": 8, "checkpoint_every": 2}
    content = {
        "dataset": {"name": "parts", "image_size": SIZE, "threads": 1},
        "inputs": {"sources": [{"kind": "elpv"}]},
        "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
        "backbone": {"channels": [32, 64], "steps": 2, "batch_size": 2, "pool_size": 8},
        "paint": {"batch_size": 2},
        "anomalydiffusion": {"steps": STEPS, "training": training, **(painting or {})},
    }
    return Params.model_validate({**content, **blocks})


@pytest.fixture(scope="module")
def fitted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("models")
    fit(inputs, params_with(), workdir, HOST, silent)
    return workdir


def louder(model: Model) -> Model:
    """Trained for seconds, a network hardly hears its tokens: let it shout."""
    generator = torch.Generator().manual_seed(2)
    nn.init.normal_(model.denoiser.backbone.unet.conv_out.weight, std=0.1, generator=generator)
    for name, weight in model.denoiser.backbone.unet.named_parameters():
        if "attn2.to_out.0.weight" in name:
            nn.init.normal_(weight, std=0.5, generator=generator)
    return model


@pytest.fixture(scope="module")
def model(fitted: Path, inputs: Inputs) -> Model:
    return louder(load(inputs, params_with(), fitted, HOST))


def square(row: int, column: int, side: int = 40) -> Mask:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[row : row + side, column : column + side] = True
    return mask


def place_of(inputs: Inputs, mask: Mask, kind: str = "hole", strength: float = 2.0, seed: int = 9) -> Place:
    clean = inputs.clean("part", TRAIN)[0]
    spec = SampleSpec("part-000000", "parts", "part", kind, 0, clean.image_id, "reference", strength, seed)
    return Place(spec, clean, DrawnMask(mask, "reference"))


def latents_of(model: Model, places: list[Place], params: Params | None = None) -> Tensor:
    latents = paint(model, places, params or params_with()).latents
    assert latents is not None
    return latents


@torch.no_grad()
def clean_latents(model: Model, place: Place) -> Tensor:
    with lower_precision(HOST):
        return model.codec.encode(to_tensor([place.clean.image] * 2)).float()[:1]


@torch.no_grad()
def decoded(model: Model, latents: Tensor) -> np.ndarray:
    return model.codec.decode(latents)[0].clamp(-1, 1).permute(1, 2, 0).numpy() * 127.5


def test_without_a_mask_nothing_is_painted(model: Model, inputs: Inputs) -> None:
    place = place_of(inputs, np.zeros((SIZE, SIZE), bool))
    assert torch.equal(latents_of(model, [place]), clean_latents(model, place))


def test_away_from_the_mask_the_image_is_the_codecs(model: Model, inputs: Inputs) -> None:
    place = place_of(inputs, square(40, 40))
    latents, clean = latents_of(model, [place]), clean_latents(model, place)
    outside = (cells_of(mask_tensor([place.mask])) == 0).expand_as(latents)
    assert torch.equal(latents[outside], clean[outside])
    far = ndimage.distance_transform_edt(~place.mask) >= 16
    difference = (decoded(model, latents) - decoded(model, clean))[far]
    assert 20 * np.log10(255 / max(np.sqrt((difference**2).mean()), 1e-9)) >= 40


def test_the_defect_goes_where_the_mask_goes(model: Model, inputs: Inputs) -> None:
    here, there = place_of(inputs, square(12, 12)), place_of(inputs, square(76, 76))
    images = fit_in(paint(model, [here, there], params_with()), [here, there], params_with().adapt)
    changed = [np.abs(image.astype(int) - here.clean.image).max(axis=2) > 8 for image in images]

    def overlap(first: Mask, second: Mask) -> float:
        return float((first & second).sum() / (first | second).sum())

    assert overlap(changed[0], here.mask) > 0.5
    assert overlap(changed[1], there.mask) > 0.5
    assert overlap(changed[1], here.mask) < 0.1


def test_a_weight_of_one_is_no_reweighting_and_a_larger_one_is(
    model: Model, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full precision: the U-Net's own attention and the edited one are two ways to one sum."""
    monkeypatch.setattr("tasks.networks.device._has_bfloat16", lambda device: False)
    places = [place_of(inputs, square(40, 40), kind) for kind in ("hole", "scratch")]
    plain = latents_of(model, places)
    ones = latents_of(model, places, params_with({"reweight_attention": True, "reweight_limit": 1.0}))
    edited = latents_of(model, places, params_with({"reweight_attention": True}))
    assert (plain - ones).abs().max() < 0.01 * (plain - edited).abs().max()


def test_without_reweighting_the_attention_is_the_unets_own(model: Model, inputs: Inputs) -> None:
    """An edited one is slower, and forgoes the kernels that are made for attention."""
    kinds: set[type] = set()
    layers = [layer for name, layer in model.denoiser.backbone.unet.named_modules() if name.endswith("attn2")]
    own = {type(layer.processor) for layer in layers}
    hooks = [layer.register_forward_pre_hook(lambda layer, _: kinds.add(type(layer.processor))) for layer in layers]
    place = place_of(inputs, square(40, 40))
    latents_of(model, [place])
    assert kinds == own
    latents_of(model, [place], params_with({"reweight_attention": True}))
    assert kinds > own
    for hook in hooks:
        hook.remove()


def test_another_defect_type_is_another_defect_in_the_same_place(model: Model, inputs: Inputs) -> None:
    hole, scratch = latents_of(model, [place_of(inputs, square(40, 40), kind) for kind in ("hole", "scratch")])
    inside = cells_of(mask_tensor([square(40, 40)]))[0, 0] == 1
    assert (hole - scratch)[:, inside].abs().mean() > 0.01
    assert torch.equal(hole[:, ~inside], scratch[:, ~inside])


def test_samples_depend_on_their_seed_alone(model: Model, inputs: Inputs) -> None:
    places = [place_of(inputs, square(40, 8 * n), seed=n) for n in range(3)]
    together = latents_of(model, places)
    assert torch.equal(latents_of(model, places[1:]), together[1:])
    reseeded = replace(places[0], spec=replace(places[0].spec, seed=77))
    assert not torch.equal(latents_of(model, [reseeded])[0], together[0])


@pytest.mark.parametrize("inpaint", [True, False])
def test_strength_orders_the_results(fitted: Path, inputs: Inputs, inpaint: bool) -> None:
    """How far the latents are from those painted for the clean prompt, which strength 0 stands for."""
    params = params_with({"inpaint": inpaint})
    model = louder(load(inputs, params, fitted, HOST))
    strengths = (0.0, *params.of(AnomalyDiffusionParams).strength)
    calm, weak, strong = latents_of(model, [place_of(inputs, square(40, 40), strength=g) for g in strengths], params)
    assert (strong - calm).abs().mean() > (weak - calm).abs().mean() > 0


def test_fitting_is_reproducible_survives_a_kill_and_makes_nothing_twice(
    fitted: Path, inputs: Inputs, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def die(what: str, done: int, steps: int) -> None:
        if what == "training the embedding" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(inputs, params_with(), tmp_path, HOST, die)
    assert not (tmp_path / EMBEDDING).exists()
    with pytest.raises(DefectoryError, match=rf"{EMBEDDING}: no such weight file"):
        load(inputs, params_with(), tmp_path, HOST)
    fit(inputs, params_with(), tmp_path, HOST, silent)
    assert {p.name: file_sha256(p) for p in tmp_path.iterdir()} == {p.name: file_sha256(p) for p in fitted.iterdir()}
    said: list[str] = []
    fit(inputs, params_with({"strength": (2.0, 3.0), "steps": 9}), tmp_path, HOST, lambda what, *_: said.append(what))
    assert said == []


def test_a_stable_diffusion_backbone_takes_the_same_way(inputs: Inputs, tmp_path: Path) -> None:
    folder = str(save_tiny_pipeline(tmp_path / "pipeline"))
    params = params_with(
        {"scheduler": "dpm-solver++"},
        codec={"kind": "pretrained", "path": f"{folder}/vae"},
        backbone={"kind": "pretrained", "path": folder},
    )
    fit(inputs, params, tmp_path / "models", HOST, silent)
    model, place = load(inputs, params, tmp_path / "models", HOST), place_of(inputs, square(40, 40))
    image = fit_in(paint(model, [place], params), [place], params.adapt)[0]
    outside = ndimage.distance_transform_edt(~place.mask) > params.adapt.feather
    assert np.array_equal(image[outside], place.clean.image[outside])
    assert (image[place.mask] != place.clean.image[place.mask]).any()
    assert model.schedule.config.prediction_type == "epsilon"


def test_without_defects_there_is_nothing_to_learn(inputs: Inputs, tmp_path: Path) -> None:
    cleans = replace(inputs, images=inputs.clean("part", TRAIN))
    with pytest.raises(DefectoryError, match="no defect with a mask or a pseudo-mask to learn from"):
        fit(cleans, params_with(), tmp_path, HOST, silent)
