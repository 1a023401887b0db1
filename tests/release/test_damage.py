"""Damage in a release is named: whatever is wrong with a shard, and every sample that it costs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.files.tables import encode_table
from tasks.release.checksums import damaged_samples
from tasks.release.reader import read_manifest
from tests.tiny_release import write_release

CATEGORIES = ("bolt", "nut", "screw")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path, 7, rows_per_group=3, categories=CATEGORIES)
    return tmp_path


def damage_in(release: Path) -> list[str]:
    return list(damaged_samples(release, read_manifest(release / "manifest.parquet")))


def rewrite(shard: Path, rows: list[dict[str, object]]) -> None:
    shard.write_bytes(encode_table(pa.Table.from_pylist(rows, pq.read_schema(shard)), 3))


def test_a_whole_release_has_none(release: Path) -> None:
    assert damage_in(release) == []


def test_every_wrong_picture_is_named_across_row_groups_and_shards(release: Path) -> None:
    bolts, nuts = (release / "images" / name / "00000.parquet" for name in ("bolt", "nut"))
    rows = pq.read_table(bolts).to_pylist()
    rows[1]["image"], rows[6]["mask"] = rows[2]["image"], rows[2]["image"]
    rewrite(bolts, rows)
    rows = pq.read_table(nuts).to_pylist()
    rows[4]["mask"] = {"bytes": None, "path": "gone"}
    rewrite(nuts, rows)
    assert damage_in(release) == [
        "images/bolt/00000.parquet: bolt-000001: its image is not the one in the manifest",
        "images/bolt/00000.parquet: bolt-000006: its mask is not the one in the manifest",
        "images/nut/00000.parquet: nut-000004: its mask is not the one in the manifest",
    ]


def test_rows_that_moved_or_are_gone_are_named(release: Path) -> None:
    shard = release / "images" / "screw" / "00000.parquet"
    rows = pq.read_table(shard).to_pylist()
    rewrite(shard, [rows[1], rows[0], *rows[2:5]])
    assert damage_in(release) == [
        "images/screw/00000.parquet: screw-000000: row 0 holds screw-000001",
        "images/screw/00000.parquet: screw-000001: row 1 holds screw-000000",
        "images/screw/00000.parquet: screw-000005: there is no row 5",
        "images/screw/00000.parquet: screw-000006: there is no row 6",
    ]


def test_a_shard_that_cannot_be_read_is_named_and_hides_no_other(release: Path) -> None:
    cut, missing = (release / "images" / name / "00000.parquet" for name in ("bolt", "screw"))
    cut.write_bytes(cut.read_bytes()[:-20])
    missing.unlink()
    found = damage_in(release)
    assert [line.split(":")[0] for line in found] == ["images/bolt/00000.parquet", "images/screw/00000.parquet"]
