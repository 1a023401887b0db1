"""Candidates from disk: which shards are done, their scores as one table, and single rows with their pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.candidates.files import SCORES_SCHEMA, ShardFiles, named_files, shard_files
from tasks.contracts import DefectoryError, ShardPlan
from tasks.files.hashing import file_sha256
from tasks.files.tables import read_table

_MARKER_ENDING = ".done.json"


@dataclass(frozen=True)
class Marker:
    """What a done-marker vouches for."""

    fingerprint: str
    files: dict[str, tuple[int, str]]
    """Size in bytes and SHA-256 by file name."""
    painted: int
    failed: int


def read_marker(path: Path) -> Marker | None:
    """The marker at `path`; None where there is none or it is torn, which both mean: not done."""
    try:
        return parse_marker(path.read_bytes())
    except FileNotFoundError:
        return None


def parse_marker(text: bytes) -> Marker | None:
    """The marker with this text; None where it is torn."""
    try:
        content = json.loads(text)
        files = {name: (int(file["bytes"]), str(file["sha256"])) for name, file in content["files"].items()}
        return Marker(str(content["fingerprint"]), files, int(content["painted"]), int(content["failed"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_done(root: Path, plan: ShardPlan) -> bool:
    """Whether the shard was finished under the plan's fingerprint and its files are there in full length.

    Contents are not hashed, so that asking is cheap; `verify_shards` does.
    """
    files = shard_files(root, plan)
    marker = read_marker(files.marker)
    return marker is not None and marker.fingerprint == plan.fingerprint and _has_files(files, marker)


def is_finished(root: Path, plan: ShardPlan) -> bool:
    """Whether the shard is done. One in which everything failed is tried again: the reason may be gone."""
    if not is_done(root, plan):
        return False
    marker = read_marker(shard_files(root, plan).marker)
    return marker is not None and marker.painted > 0


def has_its_scores(root: Path, plan: ShardPlan) -> bool:
    """Whether the scores of a shard that is done are those that were written, to the last bit."""
    files = shard_files(root, plan)
    marker = read_marker(files.marker)
    return marker is not None and file_sha256(files.scores) == marker.files[files.scores.name][1]


def done_shards(root: Path) -> list[str]:
    """The names of the shards below `root` that have a done-marker, sorted."""
    markers = sorted(root.glob(f"*/*{_MARKER_ENDING}"))
    return [f"{path.parent.name}/{path.name.removesuffix(_MARKER_ENDING)}" for path in markers]


def read_scores(
    root: Path, plans: Iterable[ShardPlan] | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The scores of the shards of `plans` (or of all that are done), one row a planned sample, and each row's `shard`.

    `columns` picks some of `SCORES_SCHEMA`; without it all but the logits are read, which are 2 kB a sample.
    Raises DefectoryError where there is no shard to read, or one cannot be read.
    """
    names = done_shards(root) if plans is None else [plan.name for plan in plans]
    if not names:
        raise DefectoryError(f"{root}: no finished shard of candidates; run `defectory run` first")
    return pa.concat_tables([_scores_of(root, name, columns) for name in names]).to_pandas()


def read_logits(root: Path, samples: pd.DataFrame) -> NDArray[np.float16]:
    """The logits (n, classes) of n samples, a table with `sample_id` and `shard`; their order is the shards'."""
    return _vectors(root, samples, "logits")


def read_descriptors(root: Path, samples: pd.DataFrame) -> NDArray[np.float16]:
    """The descriptors (n, 256) of n painted samples, a table with `sample_id` and `shard`; in the shards' order."""
    return _vectors(root, samples, "descriptor")


def read_rows(root: Path, plan: ShardPlan, sample_ids: Iterable[str]) -> pa.Table:
    """The rows of `IMAGES_SCHEMA` with these samples' pictures, in the shard's order.

    Raises DefectoryError where the shard cannot be read.
    """
    return _rows_of(root, plan.name, sample_ids)


def read_candidate_pictures(root: Path, samples: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of `IMAGES_SCHEMA` of some samples, a table with `sample_id` and `shard`, by `sample_id`.

    Raises DefectoryError where a shard cannot be read.
    """
    tables = (_rows_of(root, str(shard), group["sample_id"]) for shard, group in samples.groupby("shard"))
    return {row["sample_id"]: row for table in tables for row in table.to_pylist()}


def _vectors(root: Path, samples: pd.DataFrame, column: str) -> NDArray[np.float16]:
    names = sorted(set(samples["shard"]))
    table = pa.concat_tables([_scores_of(root, name, ["sample_id", column]) for name in names])
    wanted = pc.is_in(table["sample_id"], pa.array(samples["sample_id"], pa.string()))
    vectors = table.filter(wanted)[column].combine_chunks()
    return vectors.flatten().to_numpy().reshape(len(vectors), -1)


def _rows_of(root: Path, name: str, sample_ids: Iterable[str]) -> pa.Table:
    table = read_table(named_files(root, name).images)
    return table.filter(pc.is_in(table["sample_id"], pa.array(sorted(sample_ids), pa.string())))


def _has_files(files: ShardFiles, marker: Marker) -> bool:
    if set(marker.files) != {path.name for path in files.data}:
        return False
    return all(path.is_file() and path.stat().st_size == marker.files[path.name][0] for path in files.data)


def _scores_of(root: Path, name: str, columns: Sequence[str] | None) -> pa.Table:
    wanted = [column for column in SCORES_SCHEMA.names if column != "logits"] if columns is None else columns
    table = read_table(named_files(root, name).scores, wanted)
    return table.append_column("shard", pa.repeat(pa.scalar(name), len(table)))
