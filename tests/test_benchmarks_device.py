"""The benchmark of a device, at small sizes on the processor: the rows it promises, and what short time leaves out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from benchmarks.device.__main__ import main
from benchmarks.device.budget import OutOfTimeError, limited
from benchmarks.device.estimate import IMAGES, estimates
from benchmarks.device.line import STATIONS
from benchmarks.device.recipes import CODEC, DENOISER
from benchmarks.device.timing import StepClock
from tasks.networks.device import HOST


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    main(["--out", str(folder), "--small", "--device", "cpu", *arguments])
    found: dict[str, Any] = json.loads((folder / "device.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device")
    run(folder, "--systems", "sdas,cutpaste", "--only", "hardware,embedded,pretrained")
    return folder


@pytest.fixture(scope="module")
def tables(measured: Path) -> dict[str, list[dict[str, Any]]]:
    content = json.loads((measured / "device.json").read_text(encoding="utf-8"))
    assert not content["failures"], content["failures"]
    assert not content["left_out"]
    found: dict[str, list[dict[str, Any]]] = content["tables"]
    return found


def test_every_station_of_every_system_has_a_rate(tables: dict[str, list[dict[str, Any]]]) -> None:
    assert [row["system"] for row in tables["line"]] == ["sdas", "cutpaste"]
    for row in tables["line"]:
        assert all(row[f"{station} (images/s)"] > 0 for station in STATIONS)
        assert row["repeats"]
        assert 0 <= row["idle"] < 1
        assert row["line (images/s)"] < row["score (images/s)"], "all stations together are no faster than one"


def test_a_system_on_the_pretrained_architecture_is_measured_too(tables: dict[str, list[dict[str, Any]]]) -> None:
    assert [row["system"] for row in tables["pretrained"]] == ["sdas"]
    trained = {row["training"] for row in tables["training"] if row["networks"].startswith("embedded")}
    assert trained == {CODEC, "training on clean images"}


def test_a_page_and_pictures_are_made_of_it(measured: Path) -> None:
    page = (measured / "device.md").read_text(encoding="utf-8")
    assert all(f"## {name}" in page for name in ("hardware", "training", "line", "pretrained", "360,000 images"))
    with PIL.Image.open(measured / "embedded.png") as picture:
        assert len(set(picture.convert("L").get_flattened_data())) > 20


def test_what_does_not_fit_into_the_time_is_named(tmp_path: Path) -> None:
    content = run(tmp_path, "--seconds", "1", "--only", "hardware")
    assert content["left_out"] == ["hardware: no time left"]
    assert "hardware" not in content["tables"]


def test_a_part_that_fails_costs_no_other_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("out of everything")

    monkeypatch.setattr("benchmarks.device.embedded.measure_embedded", broken)
    content = run(tmp_path, "--systems", "cutpaste", "--only", "embedded,hardware")
    assert [failure["part"] for failure in content["failures"]] == ["embedded, cutpaste"]
    assert "out of everything" in (tmp_path / "device.md").read_text(encoding="utf-8")
    assert content["tables"]["hardware"]


def test_a_part_that_takes_too_long_is_stopped() -> None:
    start = time.perf_counter()
    with pytest.raises(OutOfTimeError), limited(0.1):
        time.sleep(30)
    assert time.perf_counter() - start < 20


def test_steps_are_timed_without_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.device.timing.time.perf_counter", lambda: now[0])
    clock = StepClock(HOST)
    for step in range(1, 101):
        now[0] += 5.0 if step <= 20 else 0.25
        clock("training", step, 100)
    assert clock.seconds_a_step("training") == 0.25
    assert clock.steps("training") == 100


def test_hours_count_every_training_once_and_every_image() -> None:
    trainings = [
        {"networks": "embedded", "training": CODEC, "seconds a step": 3.6, "steps by default": 1000},
        {"networks": "other", "training": DENOISER, "seconds a step": 9.0, "steps by default": 1000},
    ]
    painted = {"networks": "embedded", "system": "adabldm", "line (images/s)": 100.0}
    (row,) = estimates({"training": trainings, "line": [painted]})
    assert row["training (h)"] == pytest.approx(1.0)
    assert row["images (h)"] == pytest.approx(IMAGES / 100 / 3600)
    assert row["not measured"] == DENOISER
