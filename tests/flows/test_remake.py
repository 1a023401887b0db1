"""`defectory remake`: a released image from its row of the manifest alone, with a latent system and one that paints
pixels, and every planted difference named before anything is painted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.line.stations import Run
from flows.terminal import EXIT_FAILED, EXIT_OK
from tasks.candidates.write import write_shard
from tasks.files.hashing import sha256
from tasks.generation.line import candidates, make, masks
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.networks.device import HOST
from tasks.params import load_params
from tasks.plan import plan_samples
from tasks.release.build import build_release
from tasks.release.manifest import MANIFEST_SCHEMA
from tasks.release.remake import read_row, spec_of
from tasks.synthesis.fitting import fit_systems
from tasks.workspace import Workspace
from tests import stand_in
from tests.factory_fixtures import write_params, write_photographs

SYSTEMS = {"adabldm": 0.7, stand_in.NAME: 0.3}
BLOCKS: dict[str, dict[str, Any]] = {
    "dataset": {"threads": 1, "shard_size": 4},
    "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
    "denoiser": {"channels": [32, 64], "steps": 2, "batch_size": 2, "pool_size": 4},
    "adabldm": {"steps": 2},
    "paint": {"systems": SYSTEMS, "batch_size": 4, "close_up_cells": 6},
    "adapt": {"kind": "closed_form"},
    "select": {"min_change_inside": 0.0, "min_lpips_inside": 0.0, "min_effective_share": 0.0},
}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished release, through the line but without a server."""
    folder = tmp_path_factory.mktemp("made")
    write_photographs(folder)
    params, workspace = load_params(write_params(folder, **BLOCKS)), Workspace(folder / "data")
    build_inputs(params, folder, workspace.inputs)
    fit_systems(read_inputs(workspace.inputs), params, workspace.models, HOST, lambda what, done, total: None)
    run = Run(params, workspace, HOST)
    for plan in run.plans:
        drawn = masks(run.line, plan.specs)
        kept = candidates(run.line, make(run.line, drawn.places), seconds=0.1)
        write_shard(run.candidates, plan, kept, drawn.failures)
    build_release(params, run.line.inputs, run.plans, workspace.candidates, workspace.release, "defectory run")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy for one test to change, and where the verb is run."""
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    monkeypatch.chdir(copy)
    return copy


def manifest_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data" / "release" / "manifest.parquet")


def one_of(folder: Path, system: str) -> str:
    """One that was not the first in its batch when it was painted."""
    manifest = manifest_of(folder)
    rows = manifest[manifest["method"] == system]
    return str(rows.loc[rows.duplicated("shard"), "sample_id"].iloc[0])


def remake(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["remake", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.output


def set_row(folder: Path, sample_id: str, **values: Any) -> None:
    """Change one row of the manifest."""
    path = folder / "data" / "release" / "manifest.parquet"
    rows = pq.read_table(path).to_pylist()
    [row] = [row for row in rows if row["sample_id"] == sample_id]
    row |= values
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), path)


def test_every_row_holds_the_very_spec_that_was_planned(made: Path) -> None:
    params = load_params(made / "params.yaml")
    planned = {spec.sample_id: spec for spec in plan_samples(params, read_inputs(made / "data" / "inputs"))}
    released = [read_row(made / "data" / "release", name) for name in manifest_of(made)["sample_id"]]
    assert {row["method"] for row in released} == set(SYSTEMS), "the mix has to be in the release"
    assert [spec_of(row) for row in released] == [planned[row["sample_id"]] for row in released]


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_image_made_alone_has_the_bytes_it_was_released_with(folder: Path, system: str, tmp_path: Path) -> None:
    name = one_of(folder, system)
    shutil.rmtree(folder / "data" / "candidates")
    status, said = remake(name, "--out", str(tmp_path / "again.webp"))
    assert status == EXIT_OK, said
    assert said.count("yes") == 2
    assert f"{name}: image and mask are the released ones" in said
    row = read_row(folder / "data" / "release", name)
    assert sha256((tmp_path / "again.webp").read_bytes()) == row["image_sha256"]
    assert sha256((tmp_path / "again_mask.png").read_bytes()) == row["mask_sha256"]


def test_what_the_params_plan_now_has_no_part_in_it(folder: Path) -> None:
    """Under another dataset name every seed, and with it every sample, is planned otherwise."""
    name = one_of(folder, stand_in.NAME)
    write_params(folder, **BLOCKS | {"dataset": {"threads": 1, "name": "renamed", "samples_per_category": 1}})
    row = read_row(folder / "data" / "release", name)
    planned = plan_samples(load_params(folder / "params.yaml"), read_inputs(folder / "data" / "inputs"))
    assert row["seed"] not in {spec.seed for spec in planned}
    status, said = remake(name)
    assert (status, said.count("yes")) == (EXIT_OK, 2), said


def test_another_seed_in_the_row_makes_another_image_and_fails(folder: Path) -> None:
    name = one_of(folder, stand_in.NAME)
    set_row(folder, name, seed=12345)
    status, said = remake(name)
    assert status == EXIT_FAILED
    assert "no" in said
    assert f"{name}: image" in said
    assert "came out with other bytes" in said


def test_other_inputs_models_and_params_are_named_before_painting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("it painted")

    monkeypatch.setattr("flows.versions.remake.Line", refuse)
    name = one_of(folder, stand_in.NAME)
    row = read_row(folder / "data" / "release", name)
    other = "f" * 64
    for column, words in (
        ("clean_sha256", f"clean_sha256 of {row['clean_id']}: the manifest has ffffffffffff…, here it is "),
        ("model_sha256", f"model_sha256: the manifest has ffffffffffff…, here it is {row['model_sha256'][:12]}…"),
        ("line_fingerprint", "line_fingerprint (params, inputs, code): the manifest has ffffffffffff…"),
    ):
        set_row(folder, name, **{column: other})
        status, said = remake(name)
        assert (status, said.count("the manifest has")) == (EXIT_FAILED, 1), said
        assert words in said
        assert "git checkout TAG && dvc pull data/inputs data/models" in said
        set_row(folder, name, **{column: row[column]})
    write_params(folder, **BLOCKS | {"adabldm": {"steps": 3}})
    assert "here it is not fitted to these params and inputs; get params.yaml" in remake(name)[1]
    write_params(folder, **BLOCKS | {"adapt": {"kind": "closed_form", "feather": 5}})
    assert "line_fingerprint (params, inputs, code)" in remake(name)[1]


def test_a_sample_that_was_not_released_is_told_its_fate(folder: Path) -> None:
    assert "nor is it in the ledger" in remake("brass-999999")[1]
    ledger = folder / "data" / "release" / "ledger.parquet"
    rows = pd.read_parquet(ledger)
    lost = ["brass-000099", "brass", "rejected", "max_seam_contrast", 4.0, None]
    rows = pd.concat([rows, pd.DataFrame([dict(zip(rows.columns, lost, strict=True))])])
    rows.to_parquet(ledger, index=False)
    status, said = remake("brass-000099")
    assert status == EXIT_FAILED
    assert "the ledger says: rejected, max_seam_contrast" in said


def test_a_manifest_of_an_earlier_version_is_named(folder: Path) -> None:
    path = folder / "data" / "release" / "manifest.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["index", "line_fingerprint"]), path)
    status, said = remake("brass-000000")
    assert status == EXIT_FAILED
    assert "without index, line_fingerprint; run `defectory release`" in said


def test_another_ending_is_refused_before_any_work(folder: Path) -> None:
    status, said = remake("brass-000000", "--out", "again.png")
    assert status == EXIT_FAILED
    assert "expected a name ending in .webp" in said
