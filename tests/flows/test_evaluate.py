"""The evaluate stage as it is run: a real release, real detectors, a real Prefect server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from flows.evaluate import evaluate
from flows.factory import factory
from flows.server.server import embedded_server
from tasks.contracts import DefectoryError
from tasks.files.hashing import file_sha256
from tests import stand_in
from tests.factory_fixtures import CATEGORIES, hashes, write_params, write_photographs

EVALUATE = {"image_size": 64, "tiers": [0, 1], "seeds": 2, "samples": 4, "resamples": 50}
INPUTS = {"clean_train_share": 0.6, "defect_train_share": 0.5}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A params file and the root of a workspace with a release."""
    home, folder = tmp_path_factory.mktemp("prefect"), tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_HOME: home}):
        patch.setenv("PREFECT_HOME", str(home))
        stand_in.register(patch)
        with embedded_server():
            write_photographs(folder)
            params = write_params(folder, evaluate=EVALUATE, inputs=INPUTS)
            factory(params, folder / "data")
            yield params, folder / "data"


def test_a_release_is_measured_and_measured_again_to_the_same_bytes(released: tuple[Path, Path]) -> None:
    params, root = released
    evaluate(params, root)
    made = hashes(root / "evaluation")
    content = json.loads((root / "evaluation" / "figures.json").read_text())
    assert file_sha256(root / "release" / "manifest.parquet") in content["made_by"]
    figures = content["categories"]
    assert sorted(figures) == sorted(CATEGORIES)
    for category in CATEGORIES:
        measured = {row["arm"]: row for row in figures[category]["figures"]}
        assert {"release", "cutpaste", "draem", "normals only"} <= set(measured)
        assert {len(row["by_seed"]["image_auroc"]) for row in measured.values()} == {2}
        assert "pixel_ap" not in measured["release"]["by_seed"], "the photographs have no masks"
        assert any("has a mask" in line for line in figures[category]["limitations"])
        assert f"maps-{category}-probe.png" in made
    evaluate(params, root)
    assert hashes(root / "evaluation") == made
    (root / ".." / ".cache" / "evaluation").resolve().rename(root.parent / "elsewhere")
    evaluate(params, root)
    assert hashes(root / "evaluation") == made, "trained anew, from the same seeds"


def test_the_report_says_who_wins_or_that_nobody_does(released: tuple[Path, Path]) -> None:
    params, root = released
    evaluate(params, root)
    text = (root / "evaluation" / "report.md").read_text()
    assert "Grade of release: **" in text
    assert "wins" in text or "cannot tell it from" in text or "No winner is called" in text


def test_without_a_release_it_says_what_to_do(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    with pytest.raises(DefectoryError, match="no release to evaluate; `defectory run` makes one"):
        evaluate.fn(write_params(tmp_path), tmp_path / "data")
