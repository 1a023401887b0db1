"""The registry is all there is to adding a system: a toy from outside goes through plan, fit, paint and release."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.looking.estimate import estimate
from flows.looking.overview import look
from tasks.candidates.write import write_shard
from tasks.contracts import DefectoryError, ShardPlan
from tasks.generation.line import Line, candidates, make, masks
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.networks.device import HOST
from tasks.params import StationParams, load_params
from tasks.params.registry import SYSTEMS, Entry, entry_of, name_of, params_of
from tasks.plan import plan_shards
from tasks.release.build import build_release
from tasks.synthesis import system_named
from tasks.synthesis.fitted import fitted_sha256
from tasks.synthesis.fitting import fit_systems
from tasks.workspace import Workspace
from tests.factory_fixtures import SAMPLES, write_params, write_photographs
from tests.masks.helpers import image, listed
from tests.synthesis import toy_system
from tests.synthesis.places import params_with
from tests.synthesis.toy_system import PRODUCT, ToyParams

TOY = Entry(
    toy_system.__name__,
    f"{toy_system.__name__}:{ToyParams.__name__}",
    products=(PRODUCT,),
    training_seconds=(("steps", 0.5),),
)
LEVEL = 7


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSTEMS, "toy", TOY)


def toy_params(folder: Path, **block: Any) -> Path:
    kept = {"min_change_inside": 0.0, "min_lpips_inside": 0.0, "min_effective_share": 0.0}
    paint = {"systems": {"toy": 1}, "close_up_cells": 0}
    return write_params(folder, paint=paint, select=kept, dataset={"threads": 1}, toy=block)


def silent(what: str, done: int, total: int) -> None:
    pass


def write_all(line: Line, plans: tuple[ShardPlan, ...], folder: Path) -> None:
    for plan in plans:
        drawn = masks(line, plan.specs)
        write_shard(folder, plan, candidates(line, make(line, drawn.places), 0.0), drawn.failures)


@pytest.mark.usefixtures("toy")
def test_a_system_from_outside_goes_from_its_plan_to_a_release(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    params, data = load_params(toy_params(tmp_path, level=LEVEL)), Workspace(tmp_path / "data")
    assert estimate(params, look(params, tmp_path, data), data).seconds["train"] == 50
    build_inputs(params, tmp_path, data.inputs)
    inputs = read_inputs(data.inputs)

    fit_systems(inputs, params, data.models, HOST, silent)
    line = Line(params, inputs, data.models, HOST)
    plans = plan_shards(params, inputs, line.portfolio.sha256)
    write_all(line, plans, data.candidates)
    build_release(params, inputs, plans, data.candidates, data.release, "defectory run")

    manifest = pd.read_parquet(data.release / "manifest.parquet")
    assert len(manifest) == SAMPLES * len(inputs.categories)
    assert set(manifest["method"]) == {"toy"}
    assert set(manifest["prompt"]) == {f"a {category} with a scratch, {LEVEL}" for category in inputs.categories}


@pytest.mark.usefixtures("toy")
def test_its_own_key_is_part_of_what_is_fitted_and_planned(tmp_path: Path) -> None:
    inputs = listed([image(f"part/clean/{number}") for number in range(3)])
    fitted, other = (params_with(paint={"systems": {"toy": 1.0}}, toy={"level": level}) for level in (1, 2))
    fit_systems(inputs, fitted, tmp_path, HOST, silent)
    assert fitted_sha256(fitted, inputs, tmp_path)
    with pytest.raises(DefectoryError, match="toy not fitted to these params"):
        fitted_sha256(other, inputs, tmp_path)
    prints = [plan_shards(params, inputs, "model")[0].fingerprint for params in (fitted, other)]
    assert prints[0] != prints[1]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"levle": 3}, "toy.levle: unknown key; did you mean 'level'?"),
        ({"level": 300}, "toy.level: Input should be less than or equal to 255, got 300"),
        ({"strength": [1.0, 0.5]}, "toy: Value error, strength is a range"),
    ],
)
def test_a_wrong_key_in_its_block_is_refused_with_its_whole_path(
    tmp_path: Path, block: dict[str, Any], words: str
) -> None:
    with pytest.raises(DefectoryError) as refused:
        load_params(toy_params(tmp_path, **block))
    assert words in str(refused.value)


def test_without_its_entry_its_block_is_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match="  toy: unknown key"):
        load_params(toy_params(tmp_path, level=3))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_entry_names_a_system_and_the_block_that_it_reads(name: str) -> None:
    entry, system, block = entry_of(name), system_named(name), params_of(name)
    assert all(inspect.isfunction(getattr(system, function)) for function in ("fit", "load", "paint"))
    assert name_of(block) == name
    assert entry.seconds_of_training(block()) >= 0
    assert name not in StationParams.model_fields


def test_an_entry_that_names_no_block_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, words in (
        ("tests.synthesis.nowhere:ToyParams", "No module named"),
        (f"{toy_system.__name__}:Absent", "no attribute 'Absent'"),
        (f"{toy_system.__name__}:PRODUCT", "expected a subclass of SystemParams, got 'toy.txt'"),
    ):
        monkeypatch.setitem(SYSTEMS, "toy", Entry(toy_system.__name__, where))
        with pytest.raises(DefectoryError, match=f"the params of 'toy': .*{words}"):
            params_of("toy")


@pytest.mark.parametrize(
    ("system", "defective", "missing"),
    [
        ("crop_paste", "part/hole/0", "nut"),
        ("inpaint_lora", "part/hole/0", "nut"),
        ("anomalydiffusion", "", "nut, part"),
    ],
)
def test_inputs_that_cannot_feed_a_system_are_refused_before_any_is_trained(
    tmp_path: Path, system: str, defective: str, missing: str
) -> None:
    images = [image(name) for name in ("nut/clean/0", "part/clean/0", defective) if name]
    params = params_with(paint={"systems": {"adabldm": 0.5, system: 0.5}}, codec={"crop": 32})
    words = f"{system} takes real defects, and the train split has none of {missing};"
    with pytest.raises(DefectoryError, match=words):
        fit_systems(listed(images), params, tmp_path / "models", HOST, silent)
    assert not (tmp_path / "models").exists()
