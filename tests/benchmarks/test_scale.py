"""The benchmark of a run at full size: its photographs are a source, its aims can fail, nothing measured is lost."""

from __future__ import annotations

import copy
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import PIL.Image
import pytest

from benchmarks.scale import photographs
from benchmarks.scale.photographs import CATEGORIES, View, write_photographs
from benchmarks.scale.place import STATIONS, Place, params_text
from benchmarks.scale.tables import aims
from tasks.inputs.readers import list_source
from tasks.params import load_params

GOOD: dict[str, dict[str, Any]] = {
    "generate": {"own share": 0.01},
    "resume scan": {"scan seconds": 0.2, "markers": 72},
    "re-filter": {"work seconds": 9.0},
    "release": {"accepted": 30_000},
    "verify": {"rate": 0.5e9, "bare rate": 0.5e9},
    "publish again": {"seconds": 20.0, "pushed bytes": 0, "new": False},
    "pull": {"seconds": 10.0},
    "pull loose files": {"seconds": 100.0, "images": 3600},
}


def test_every_station_is_a_function_that_exists() -> None:
    assert all(callable(resolve_name(name)) for name in STATIONS.values())


def test_the_photographs_are_a_source_of_36_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "_CLEANS", 2)
    monkeypatch.setattr(photographs, "_DEFECTS", 1)
    sources = write_photographs(tmp_path / "nothing here", tmp_path / "photographs")
    (tmp_path / "workspace").mkdir()
    path = tmp_path / "workspace" / "params.yaml"
    path.write_text(params_text(sources, Path("../photographs"), 3600), encoding="utf-8")
    params = load_params(path)
    assert params.dataset.samples_per_category == 100
    listings = [list_source(source, path.parent) for source in params.inputs.sources]
    assert len({listing.images[0].category for listing in listings}) == CATEGORIES
    assert all({"clean", "defect"} == {image.defect_type for image in listing.images} for listing in listings)


def test_a_view_is_its_window_and_its_turn(tmp_path: Path) -> None:
    levels = np.zeros((192, 192, 3), np.uint8)
    levels[96:, 96:] = 200  # what the last window of the grid sees
    levels[96:144, 96:144] = 100
    PIL.Image.fromarray(levels).save(tmp_path / "image.png")
    seen = np.asarray(View(8, turned=False).of(tmp_path / "image.png"))
    assert seen.shape == (96, 96, 3)
    assert (seen[:40, :40] == 100).all()
    assert (seen[60:] == 200).all()
    turned = np.asarray(View(8, turned=True).of(tmp_path / "image.png"))
    assert (turned[60:, :40] == 100).all()


def test_good_figures_meet_every_aim() -> None:
    assert {aim.name: aim.holds for aim in aims(GOOD, 36_000)} == dict.fromkeys(
        ("own share", "resume scan", "re-filter", "verify", "publish again", "pull"), True
    )


@pytest.mark.parametrize(
    ("station", "figure", "value", "aim"),
    [
        ("generate", "own share", 0.06, "own share"),
        ("resume scan", "scan seconds", 1.5, "resume scan"),
        ("re-filter", "work seconds", 61.0, "re-filter"),
        ("verify", "rate", 0.4e9, "verify"),
        ("publish again", "pushed bytes", 1, "publish again"),
        ("publish again", "new", True, "publish again"),
        ("publish again", "seconds", 70.0, "publish again"),
        ("pull", "seconds", 50.0, "pull"),
    ],
)
def test_one_bad_figure_misses_one_aim(station: str, figure: str, value: float, aim: str) -> None:
    figures = copy.deepcopy(GOOD)
    figures[station][figure] = value
    assert [found.name for found in aims(figures, 36_000) if not found.holds] == [aim]


def test_what_a_station_has_measured_stays(tmp_path: Path) -> None:
    place = Place(tmp_path, 720)
    place.base.mkdir()
    place.keep("inputs", {"seconds": 1.0})
    place.keep("generate", {"seconds": 2.0})
    place.keep("inputs", {"seconds": 3.0})
    assert place.figures() == {"inputs": {"seconds": 3.0}, "generate": {"seconds": 2.0}}
