"""tasks/versions/__init__.py: a release folder as a torch Dataset, and the refusals of a folder that is not whole."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from torch.utils.data import DataLoader

from tasks.contracts import DefectoryError
from tasks.versions import open_release
from tasks.versions.locked import locked_outputs
from tasks.versions.pulled import ReleaseDataset
from tests.tiny_release import SIZE, pictures, write_release

SAMPLES = 7


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    write_release(folder, SAMPLES)
    return folder


def test_items_are_the_pixels_that_were_written(release: Path) -> None:
    dataset = ReleaseDataset(release)
    assert len(dataset) == SAMPLES
    for index in (6, 0, 3, 2):  # across row groups of three, and out of order
        item, (image, mask) = dataset[index], pictures(index)
        assert item["sample_id"] == f"cell-{index:06d}"
        assert item["image"].dtype == torch.uint8
        assert item["mask"].dtype == torch.bool
        np.testing.assert_array_equal(item["image"].permute(1, 2, 0).numpy(), image)
        np.testing.assert_array_equal(item["mask"].numpy(), mask)
        assert dataset.labels[item["label"]] == ("scratch", "crack")[index % 2]


def test_it_can_be_handed_to_a_worker_that_is_spawned(release: Path) -> None:
    dataset = ReleaseDataset(release)
    assert dataset[2]["label"] == 1  # something has been read before
    copy = pickle.loads(pickle.dumps(dataset))
    batch = next(iter(DataLoader(copy, batch_size=SAMPLES)))
    assert batch["image"].shape == (SAMPLES, 3, SIZE, SIZE)
    assert batch["sample_id"] == [f"cell-{index:06d}" for index in range(SAMPLES)]


def test_a_release_made_anew_in_the_same_place_is_read_anew(release: Path) -> None:
    assert ReleaseDataset(release)[1]["sample_id"] == "cell-000001"
    write_release(release, SAMPLES + 4)
    assert ReleaseDataset(release)[SAMPLES + 3]["sample_id"] == f"cell-{SAMPLES + 3:06d}"


def test_transform_is_applied_to_the_whole_item(release: Path) -> None:
    dataset = ReleaseDataset(release, transform=lambda item: (item["image"].float().mean(), item["label"]))
    mean, _ = dataset[1]
    assert mean == pytest.approx(pictures(1)[0].mean())


def test_a_missing_manifest_and_a_missing_shard_are_named(release: Path) -> None:
    (release / "images" / "cell" / "00000.parquet").unlink()
    with pytest.raises(DefectoryError, match=r"images/cell/00000.parquet"):
        ReleaseDataset(release)
    (release / "manifest.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DefectoryError, match=r"manifest.parquet: not a manifest"):
        ReleaseDataset(release)
    (release / "manifest.parquet").unlink()
    with pytest.raises(DefectoryError, match=r"manifest.parquet: no manifest"):
        ReleaseDataset(release)


def test_other_bytes_than_the_manifest_hashed_are_found(release: Path, tmp_path: Path) -> None:
    assert list(ReleaseDataset(release).damaged()) == []
    write_release(tmp_path / "other", SAMPLES, rows_per_group=2)
    table = _shard(tmp_path / "other")
    image = table[4]["image"]
    table[4]["image"] = table[5]["image"]
    _rewrite(tmp_path / "other", table)
    assert len(list(ReleaseDataset(tmp_path / "other").damaged())) == 1
    assert "cell-000004: its image" in next(ReleaseDataset(tmp_path / "other").damaged())
    table[4]["image"] = image
    _rewrite(tmp_path / "swapped", table[::-1], manifest_of=release)
    with pytest.raises(DefectoryError, match=r"row 0 holds cell-000006, expected cell-000000"):
        ReleaseDataset(tmp_path / "swapped")[0]


def test_open_release_wants_the_very_version_that_the_tag_names(tmp_path: Path) -> None:
    repo = tmp_path / "checkout"
    with pytest.raises(DefectoryError, match=r"cannot run git"):
        open_release("cells-v1", repo)
    release = repo / "data" / "release"
    write_release(release, SAMPLES)
    _commit_lock(repo, "a" * 32, release, "cells-v1")
    assert len(open_release("cells-v1", repo)) == SAMPLES
    with pytest.raises(DefectoryError, match=r"no version is tagged 'cells-v2'; tags here: cells-v1"):
        open_release("cells-v2", repo)
    write_release(release, SAMPLES + 1)
    with pytest.raises(DefectoryError, match=r"not the version 'cells-v1', or not all of it"):
        open_release("cells-v1", repo)
    _commit_lock(repo, "b" * 32, release, "cells-v2")
    assert len(open_release("cells-v2", repo)) == SAMPLES + 1
    with pytest.raises(DefectoryError, match=r"not the version 'cells-v1'"):
        open_release("cells-v1", repo)


def test_only_directories_are_outputs_of_a_version() -> None:
    file, folder = "{path: m.json, md5: 00ff, size: 1}", "{path: d, md5: 11.dir, size: 2, nfiles: 3}"
    lock = f"stages: {{a: {{outs: [{file}]}}, b: {{outs: [{folder}]}}}}"
    assert [output.path for output in locked_outputs(lock)] == ["d"]
    assert locked_outputs("") == ()


def _shard(release: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = parquet.read_table(release / "images/cell/00000.parquet").to_pylist()
    return rows


def _rewrite(release: Path, rows: list[dict[str, object]], manifest_of: Path | None = None) -> None:
    shard = release / "images" / "cell" / "00000.parquet"
    shard.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), shard)
    if manifest_of:
        (release / "manifest.parquet").write_bytes((manifest_of / "manifest.parquet").read_bytes())


def _commit_lock(repo: Path, md5: str, release: Path, tag: str) -> None:
    files = [path for path in release.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    (repo / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  release:\n    outs:\n"
        f"    - path: data/release\n      md5: {md5}.dir\n      size: {size}\n      nfiles: {len(files)}\n"
    )
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "dvc.lock"], [*identity, "commit", "-qm", tag], ["tag", tag]):
        subprocess.run(["git", *command], cwd=repo, check=True)
