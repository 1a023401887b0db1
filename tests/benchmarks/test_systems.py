"""The benchmark of all systems: the same places for each, results that outlive a call, and the table made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.systems.__main__ import main
from benchmarks.systems.measure import Bench, places_sha256
from benchmarks.systems.results import SystemResult, read_results, write_result
from benchmarks.systems.sheet import shown
from benchmarks.systems.table import table_of
from benchmarks.systems.training import RECORD, timed, training_of
from tasks.contracts import SampleSpec
from tasks.files.products import mark_made, marker_of
from tasks.generation.line import draw_places
from tasks.inputs.dataset import read_inputs
from tasks.networks.device import HOST
from tasks.params import load_params, registry
from tests import stand_in
from tests.factory_fixtures import write_params, write_photographs

ROW = SystemResult(
    system="nsa",
    places_sha256="same",
    strength=(0.25, 1.0),
    trained_on="2 cores",
    training_seconds=61.4,
    seconds_an_image=0.254,
    ic_lpips={"tile/crack": 0.3, "tile/fray": None},
    protocol="dfmgan",
    inception_score=1.534,
    classifier="efficientnet_lite0",
    visible_share=0.75,
    outside_change=0.0,
    change_inside=21.26,
    accepted=17,
    painted=24,
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        yield


@dataclass(frozen=True)
class Benched:
    """A workspace in which the benchmark was run twice."""

    folder: Path
    first: str
    """The table after a call for two systems, one of which could not paint."""
    second: str
    """After a call for that one alone, beside a result of other places."""
    seconds: tuple[str, str]
    """The record of training after either."""

    @property
    def models(self) -> Path:
        return self.folder / "work" / "data" / "models"


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Benched:
    def fail(specs: Sequence[SampleSpec]) -> None:
        raise RuntimeError("no paint | left")

    folder = tmp_path_factory.mktemp("bench")
    write_photographs(folder)
    write_params(folder)
    record = folder / "work" / "data" / "models" / RECORD
    with stand_in.painting(fail):
        first = bench(folder, f"{stand_in.NAME},cutpaste")
    before = record.read_text(encoding="utf-8")
    write_result(folder / "work" / "systems", replace(ROW, system="draem"), {})
    second = bench(folder, stand_in.NAME)
    return Benched(folder, first, second, (before, record.read_text(encoding="utf-8")))


def bench(folder: Path, systems: str) -> str:
    """Run the benchmark; returns its table."""
    files = ["--params", str(folder / "params.yaml"), "--workspace", str(folder / "work"), "--out", str(folder / "out")]
    main([*files, "--systems", systems, "--samples", "3", "--rows", "2", "--protocol", "dfmgan"])
    return (folder / "out" / "discs.md").read_text(encoding="utf-8")


def row_of(table: str, system: str) -> list[str]:
    lines = [line for line in table.splitlines() if line.startswith(f"| {system} |")]
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_systems_run_one_at_a_time_share_a_table_and_a_picture(benched: Benched) -> None:
    for system in (stand_in.NAME, "cutpaste"):
        assert "of 6" in " ".join(row_of(benched.second, system))
    for said in ("IC-LPIPS brass/scratch", "is_efficientnet_lite0", "![", "(discs.png)"):
        assert said in benched.second
    assert PIL.Image.open(benched.folder / "out" / "discs.png").width > 5 * 128


def test_every_system_is_given_the_same_places_and_its_own_strength(benched: Benched) -> None:
    """Although CutPaste would draw masks of its own."""
    params = load_params(benched.folder / "params.yaml")
    inputs = read_inputs(benched.folder / "work" / "data" / "inputs")
    shared = Bench(inputs, params, benched.models, 3, "dfmgan", HOST, lambda what, done, total: None)
    assert params.system("cutpaste").masks
    first, second = (
        draw_places(inputs, shared.params_of(name), benched.models) for name in (stand_in.NAME, "cutpaste")
    )
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert one.clean.image_id == other.clean.image_id
        assert one.spec.strength != other.spec.strength
    painted = {result.system: result.places_sha256 for result in read_results(benched.folder / "work" / "systems")}
    assert painted[stand_in.NAME] == painted["cutpaste"] == places_sha256(first) != painted["draem"]


def test_a_system_that_fails_says_why_and_costs_no_other_its_row(benched: Benched) -> None:
    assert "failed: RuntimeError: no paint \\| left" in benched.first
    assert "of 6" in " ".join(row_of(benched.first, "cutpaste"))
    assert "failed" not in benched.second


def test_what_is_fitted_is_used_and_its_seconds_are_remembered(benched: Benched) -> None:
    before, after = benched.seconds
    assert before == after
    assert stand_in.PRODUCT in json.loads(before)
    assert "not recorded" not in row_of(benched.second, stand_in.NAME)


def test_results_of_other_places_are_left_out(benched: Benched) -> None:
    assert "| draem |" not in benched.second


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_result(tmp_path, ROW, {"tile-000000": np.zeros((8, 8, 3), np.uint8)})
    assert list(read_results(tmp_path)) == [ROW]


def test_the_table_says_what_is_known_and_no_more(benched: Benched) -> None:
    params = load_params(benched.folder / "params.yaml")
    untimed, untrained = replace(ROW, system="a", training_seconds=None), replace(ROW, system="b", training_seconds=0.0)
    table = table_of([ROW, replace(untimed, trained_on=""), replace(untrained, trained_on="")], params, "x.png", "make")
    head = [cell.strip() for cell in table.splitlines()[6].strip("|").split("|")]
    row = dict(zip(head, row_of(table, "nsa"), strict=True))
    assert row["training, s"] == "61"
    assert row["s an image"] == "0.25"
    assert (row["IC-LPIPS crack"], row["IC-LPIPS fray"], row["IC-LPIPS"]) == ("0.300", "–", "0.300")
    assert (row["visible"], row["outside change"], row["accepted"]) == ("75%", "0", "17 of 24")
    assert (row["change inside"], row["strength"]) == ("21.3", "0.25 to 1")
    assert row_of(table, "a")[1:3] == ["not recorded", "not recorded"]
    assert row_of(table, "b")[1:3] == ["–", "–"]


def test_seconds_belong_to_products_and_an_interrupted_training_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 1000.0}

    def make(name: str, seconds: float) -> None:
        clock["now"] += seconds
        (tmp_path / name).write_text(name, encoding="ascii")
        mark_made(tmp_path / name, "test")
        os.utime(marker_of(tmp_path / name), (clock["now"], clock["now"]))

    def train_and_stop() -> None:
        with timed(tmp_path):
            make("codec", 20.0)
            clock["now"] += 30.0
            raise KeyboardInterrupt

    entry = registry.Entry("", "tasks.params.systems:SystemParams", products=("codec", "weights", "older"))
    monkeypatch.setitem(registry.SYSTEMS, "one", entry)
    monkeypatch.setattr("benchmarks.systems.training.time.time", lambda: clock["now"])
    with pytest.raises(KeyboardInterrupt):
        train_and_stop()
    assert training_of("one", tmp_path)[0] == 20
    clock["now"] += 5000.0
    with timed(tmp_path):
        make("weights", 10.0)
    seconds, machine = training_of("one", tmp_path)
    assert seconds == 60
    assert "cores" in machine
    make("older", 1.0)
    assert training_of("one", tmp_path) == (None, "")


@pytest.mark.parametrize("corner", [(0, 0), (50, 50), (20, 30)])
def test_a_picture_shows_the_mask_and_at_least_half_of_the_image(corner: tuple[int, int]) -> None:
    mask = np.zeros((64, 64), bool)
    mask[corner[0] : corner[0] + 14, corner[1] : corner[1] + 5] = True
    left, top, right, bottom = shown(mask)
    assert right - left == bottom - top == 32
    assert mask[top:bottom, left:right].sum() == mask.sum()
    assert shown(np.ones((64, 64), bool)) == (0, 0, 64, 64)
