"""Several systems in one dataset: a latent one and one that paints pixels, mixed by their shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tasks.contracts import DefectoryError, Image, Place
from tasks.files.products import is_made
from tasks.generation.portfolio import Portfolio, as_coloured
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.masks.draw import draw_mask
from tasks.networks.device import HOST
from tasks.params import Params, load_params
from tasks.plan import plan_samples
from tasks.progress import silent
from tasks.synthesis import used_systems
from tasks.synthesis.fitted import fitted_sha256
from tasks.synthesis.fitting import fit_systems
from tests import stand_in
from tests.factory_fixtures import write_params, write_photographs

BOTH = {"adabldm": 0.5, stand_in.NAME: 0.5}
TINY = {
    "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
    "denoiser": {"channels": [32, 64], "steps": 2, "batch_size": 2, "pool_size": 4},
    "adabldm": {"steps": 3},
    "adapt": {"kind": "closed_form"},
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    write_photographs(folder)
    params = with_systems(folder, BOTH)
    build_inputs(params, folder, folder / "inputs")
    fit_systems(read_inputs(folder / "inputs"), params, folder / "models", HOST, silent)
    return folder


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Inputs:
    return read_inputs(folder / "inputs")


@pytest.fixture(scope="module")
def portfolio(folder: Path, inputs: Inputs) -> Portfolio:
    return Portfolio(inputs, with_systems(folder, BOTH), folder / "models", HOST)


def with_systems(folder: Path, systems: dict[str, float], close_up_cells: int = 6) -> Params:
    paint = {"systems": systems, "batch_size": 2, "close_up_cells": close_up_cells}
    return load_params(write_params(folder, **TINY, paint=paint))


def places_of(inputs: Inputs, params: Params) -> list[Place]:
    places = []
    for spec in plan_samples(params, inputs):
        clean = inputs.by_id(spec.clean_id)
        places.append(Place(spec, clean, draw_mask(spec, clean, [], params.masks)))
    return places


def painted(portfolio: Portfolio, places: Sequence[Place]) -> list[Image]:
    return portfolio.finish(places, portfolio.paint(places))


def test_each_sample_is_painted_by_its_own_system_and_results_keep_their_order(
    portfolio: Portfolio, inputs: Inputs
) -> None:
    places = places_of(inputs, portfolio.params)
    systems = [place.spec.system for place in places]
    assert set(systems) == set(BOTH)
    assert systems != sorted(systems)
    for place, image in zip(places, painted(portfolio, places), strict=True):
        outside = ndimage.distance_transform_edt(~place.mask) > portfolio.params.adapt.feather
        assert np.array_equal(image[outside], place.clean.image[outside])
        assert not np.array_equal(image[place.mask], place.clean.image[place.mask])
        if place.spec.system == stand_in.NAME:
            assert (image[place.mask] <= 0.45 * place.clean.image[place.mask] + 8).all()


def test_a_sample_is_the_same_alone_and_with_companions_of_another_system(portfolio: Portfolio, inputs: Inputs) -> None:
    places = places_of(inputs, portfolio.params)
    together = painted(portfolio, places)
    backwards = painted(portfolio, places[::-1])[::-1]
    for number in (0, len(places) // 2, len(places) - 1):
        (alone,) = painted(portfolio, [places[number]])
        assert np.array_equal(alone, together[number])
        assert np.array_equal(alone, backwards[number])


def test_small_masks_are_painted_in_a_view_and_large_ones_as_they_are(portfolio: Portfolio, inputs: Inputs) -> None:
    place = next(p for p in places_of(inputs, portfolio.params) if p.spec.system == stand_in.NAME)
    masks = [np.zeros_like(place.mask) for _ in range(2)]
    masks[0][30:34, 30:34], masks[1][12:52, 12:52] = True, True
    both = [replace(place, drawn=replace(place.drawn, mask=mask)) for mask in masks]
    (part,) = portfolio.paint(both)
    assert [window is not None for window in part.windows] == [True, False]
    assert part.views[0].mask.sum() == 4 * masks[0].sum()
    assert part.views[1] is both[1]
    for one, image in zip(both, portfolio.finish(both, [part]), strict=True):
        assert image[one.mask].mean() < 0.6 * one.clean.image[one.mask].mean()


def test_real_patches_are_for_what_a_codec_decoded_a_types_in_full_size_and_an_exemplars_in_any_view(
    folder: Path, inputs: Inputs, portfolio: Portfolio
) -> None:
    places = places_of(inputs, portfolio.params)
    latent = next(place for place in places if place.spec.system == "adabldm")
    pixels = next(place for place in places if place.spec.system == stand_in.NAME)
    small, large = np.zeros_like(latent.mask), np.zeros_like(latent.mask)
    small[30:34, 30:34], large[12:52, 12:52] = True, True
    asked = [
        replace(place, drawn=replace(place.drawn, mask=mask))
        for place, mask in ((latent, large), (latent, small), (pixels, large))
    ]
    adapt = portfolio.params.adapt.model_copy(update={"real_patches": False})
    bare = Portfolio(inputs, portfolio.params.model_copy(update={"adapt": adapt}), folder / "models", HOST)
    parts = portfolio.paint(asked)
    pairs = zip(portfolio.finish(asked, parts), bare.finish(asked, parts), strict=True)
    assert [np.array_equal(one, other) for one, other in pairs] == [False, True, True]
    latents = next(part for part in parts if part.painted.codec is not None)
    exemplars = torch.rand(2, 3, *latent.mask.shape, generator=torch.manual_seed(1)) * 2 - 1
    followed = [replace(latents, painted=replace(latents.painted, exemplars=exemplars)), *parts[1:]]
    pairs = zip(portfolio.finish(asked, followed), bare.finish(asked, followed), strict=True)
    assert [np.array_equal(one, other) for one, other in pairs] == [False, False, True]


def test_the_share_of_a_system_is_the_share_of_its_samples(folder: Path, inputs: Inputs) -> None:
    params = with_systems(folder, {"adabldm": 0.2, stand_in.NAME: 0.6})
    dataset = params.dataset.model_copy(update={"samples_per_category": 1000})
    specs = plan_samples(params.model_copy(update={"dataset": dataset}), inputs)
    assert np.mean([spec.system == stand_in.NAME for spec in specs]) == pytest.approx(0.75, abs=0.03)


def test_a_share_of_nothing_is_no_system(folder: Path) -> None:
    assert used_systems(with_systems(folder, {"adabldm": 0.0, stand_in.NAME: 1.0})) == [stand_in.NAME]
    with pytest.raises(DefectoryError, match="did you mean 'adabldm'"):
        used_systems(with_systems(folder, {"adabdlm": 1.0}))


def test_what_is_not_fitted_is_said_with_the_next_step(folder: Path, inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"adabldm, stand_in not fitted .*run `defectory run`"):
        Portfolio(inputs, with_systems(folder, BOTH), tmp_path, HOST)


def test_changed_params_are_not_fitted_but_those_of_other_stations_are(folder: Path, inputs: Inputs) -> None:
    params, models = with_systems(folder, BOTH), folder / "models"
    sha256 = fitted_sha256(params, inputs, models)
    same = params.model_copy(update={"select": params.select.model_copy(update={"min_change_inside": 1.0})})
    assert fitted_sha256(same, inputs, models) == sha256
    for block, change in (("denoiser", {"steps": 9}), ("adabldm", {"steps": 9}), ("masks", {"min_area": 0.001})):
        other = params.model_copy(update={block: getattr(params, block).model_copy(update=change)})
        with pytest.raises(DefectoryError, match="not fitted to these params"):
            fitted_sha256(other, inputs, models)
    with pytest.raises(DefectoryError, match="not fitted to these params and inputs"):
        fitted_sha256(params, replace(inputs, sha256="other"), models)


def test_fitting_one_system_more_leaves_the_others_products(folder: Path, inputs: Inputs, tmp_path: Path) -> None:
    alone, both = with_systems(folder, {stand_in.NAME: 1.0}), with_systems(folder, BOTH)
    fit_systems(inputs, alone, tmp_path, HOST, silent)
    before = (tmp_path / stand_in.PRODUCT).stat().st_mtime_ns
    assert not (tmp_path / "denoiser.safetensors").exists()
    fit_systems(inputs, both, tmp_path, HOST, silent)
    assert (tmp_path / stand_in.PRODUCT).stat().st_mtime_ns == before
    assert (tmp_path / "denoiser.safetensors").is_file()
    assert fitted_sha256(both, inputs, tmp_path) == fitted_sha256(both, inputs, folder / "models")
    assert not is_made(tmp_path / stand_in.PRODUCT, "something else")


def test_a_grey_photograph_stays_grey_and_a_coloured_one_keeps_its_colours() -> None:
    painted = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = as_coloured(painted, np.full((8, 8, 3), 90, np.uint8))
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - painted.mean(axis=2)).max() <= 0.5
    coloured = np.full((8, 8, 3), 90, np.uint8)
    coloured[0, 0, 2] = 91
    assert np.array_equal(as_coloured(painted, coloured), painted)
