"""Every test plants one fault in a good release; the gate must find it and name it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.contracts import TEST, DefectoryError
from tasks.files.hashing import sha256
from tasks.files.pictures import decode_image, encode_image, encode_mask
from tasks.files.tables import encode_table
from tasks.inputs.dataset import Inputs
from tasks.release.build import build_release
from tasks.release.gate import check_release
from tests.factories import Workspace, make_params, make_workspace

LEDGER, MANIFEST, SHARD = "ledger.parquet", "manifest.parquet", "images/mono/00000.parquet"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("work"), make_params(64, samples=4, shard_size=2))
    arguments = (workspace.params, workspace.inputs, workspace.plans, workspace.candidates, workspace.release)
    build_release(*arguments, "command")
    return workspace


@pytest.fixture
def folder(built: Workspace, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.release, tmp_path / "release"))


def check(built: Workspace, folder: Path, inputs: Inputs | None = None) -> None:
    check_release(folder, built.plans, inputs or built.inputs, built.params)


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrite a table with `change` made to its rows."""
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    change(rows)
    path.write_bytes(encode_table(pa.Table.from_pylist(rows, table.schema)))


def put_image(folder: Path, change: Callable[[np.ndarray], object], tell: bool) -> None:
    """Change the first image's pixels; `tell` writes its new hash into the manifest."""
    image = decode_image(pq.ParquetFile(folder / SHARD).read().to_pylist()[0]["image"]["bytes"]).copy()
    change(image)
    data = encode_image(image)
    edit(folder / SHARD, lambda rows: rows[0]["image"].update(bytes=data))
    if tell:
        edit(folder / "manifest.parquet", lambda rows: rows[0].update(image_sha256=sha256(data)))


def test_a_good_release_passes(built: Workspace, folder: Path) -> None:
    check(built, folder)


def first(column: str, value: object) -> Callable[[list[dict[str, Any]]], object]:
    """A fault: the first row's `column` is `value`."""
    return lambda rows: rows[0].update({column: value})


@pytest.mark.parametrize(
    ("file", "fault", "message"),
    [
        (LEDGER, lambda rows: rows.pop(1), "planned but not in the ledger: mono-000001"),
        (LEDGER, lambda rows: rows.append(rows[0]), "more often than planned: mono-000000"),
        (LEDGER, first("status", "lost"), r"mono: 4 planned, but 3 accepted \+ 0 rejected \+ 0 failed"),
        (LEDGER, first("status", "rejected"), "in the manifest but not accepted: mono-000000"),
        (MANIFEST, lambda rows: rows.pop(0), "accepted but not in the manifest: mono-000000"),
        (MANIFEST, lambda rows: rows.append(rows[0]), "more than once in the manifest: mono-000000"),
        (MANIFEST, lambda rows: rows[1].update(image_sha256=rows[0]["image_sha256"]), "the same, byte for byte"),
        (MANIFEST, first("outside_max_abs", 3.0), "changed outside the mask and its feather ring: mono-000000"),
        (MANIFEST, first("outside_max_abs", None), "changed outside the mask and its feather ring: mono-000000"),
        (MANIFEST, first("clean_id", "mono/clean/0004"), "clean image that is not in the train split: mono-000000"),
        (MANIFEST, first("clean_id", "nobody"), "the inputs do not have: mono-000000"),
        (MANIFEST, first("clean_sha256", "0"), "SHA-256 is not that of the inputs: mono-000000"),
        (MANIFEST, first("mask_sha256", "0"), "mono-000000: its mask has the SHA-256"),
        (SHARD, lambda rows: rows.reverse(), "mono/00000.parquet: its 2 rows are not the 2 that the manifest lists"),
        (SHARD, lambda rows: rows.pop(), "mono/00000.parquet: its 1 rows are not the 2"),
    ],
)
def test_a_planted_fault_is_named(
    built: Workspace, folder: Path, file: str, fault: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    edit(folder / file, fault)
    with pytest.raises(DefectoryError, match=message):
        check(built, folder)


def test_a_changed_pixel_is_found_by_its_hash(built: Workspace, folder: Path) -> None:
    put_image(folder, lambda image: image.__setitem__((32, 32, 0), 255 - image[32, 32, 0]), tell=False)
    with pytest.raises(DefectoryError, match="mono-000000: its image has the SHA-256"):
        check(built, folder)


def test_a_changed_pixel_outside_the_mask_is_found_though_hash_and_scores_say_all_is_well(
    built: Workspace, folder: Path
) -> None:
    put_image(folder, lambda image: image.__setitem__((0, 0, 2), image[0, 0, 2] + 1), tell=True)
    with pytest.raises(DefectoryError, match="mono-000000: differs by 1 grey levels outside its mask and ring"):
        check(built, folder)


def test_an_empty_mask_is_found(built: Workspace, folder: Path) -> None:
    empty = encode_mask(np.zeros((64, 64), bool))
    edit(folder / SHARD, lambda rows: rows[1]["mask"].update(bytes=empty))
    edit(folder / "manifest.parquet", lambda rows: rows[1].update(mask_sha256=sha256(empty)))
    with pytest.raises(DefectoryError, match="mono-000001: its mask is empty"):
        check(built, folder)


def test_missing_damaged_and_surplus_files_are_named(built: Workspace, folder: Path) -> None:
    (folder / SHARD).rename(folder / "images/mono/00009.parquet")
    (folder / "images/poly/00001.parquet").write_bytes(b"rubbish")
    with pytest.raises(DefectoryError) as caught:
        check(built, folder)
    text = str(caught.value)
    assert f"{SHARD}: missing" in text
    assert "images/mono/00009.parquet: not in the manifest" in text
    assert "poly/00001.parquet: cannot be read" in text


def test_a_mask_drawn_from_a_test_defect_is_a_leak(built: Workspace, folder: Path) -> None:
    secret = dataclasses.replace(built.inputs.images[0], image_id="mono/crack/1", defect_type="crack", split=TEST)
    inputs = Inputs((*built.inputs.images, secret), built.inputs.skipped, built.inputs.sha256)
    edit(folder / "manifest.parquet", lambda rows: rows[2].update(reference_id="mono/crack/1"))
    with pytest.raises(DefectoryError, match="mask comes from a defect that is not in the train split: mono-000002"):
        check(built, folder, inputs)


def test_all_problems_are_told_at_once(built: Workspace, folder: Path) -> None:
    edit(folder / "ledger.parquet", lambda rows: rows.pop(1))
    edit(folder / "manifest.parquet", lambda rows: rows[0].update(mask_sha256="0"))
    with pytest.raises(DefectoryError) as caught:
        check(built, folder)
    assert "not in the ledger" in str(caught.value)
    assert "its mask has the SHA-256" in str(caught.value)
