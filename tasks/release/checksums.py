"""The checksums of a release's files: `sha256sum --check SHA256SUMS` reads them without anything of ours.

In: a release's folder. Out: a line a file, and later what has changed since. Whole files are hashed, shards side by
side, at the pace of the disk or of the hashing, however small the pictures are.

Whether the pictures are those that the manifest hashed is looked at a row group at a time, shards side by side, so that
memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.contracts import DefectoryError, check_below
from tasks.files.atomic import write_atomic
from tasks.files.hashing import file_sha256, sha256
from tasks.files.tables import IMAGE_ROWS

CHECKSUMS = "SHA256SUMS"

HASHED_PICTURES = ("image", "mask")
_LISTED = ["sample_id", "row", *(f"{name}_sha256" for name in HASHED_PICTURES)]


@dataclass(frozen=True)
class FileCheck:
    """What has become of the files of a release."""

    whole: frozenset[str]
    """Relative to the folder; empty where a release has no checksums, such as a part of one."""
    problems: tuple[str, ...]
    """One line a file that is not the one that was released, that is missing, or that does not belong there."""


def write_checksums(folder: Path) -> None:
    """Write `CHECKSUMS` with the SHA-256 of every other file below `folder`, by name."""
    lines = [f"{sha256}  {name}\n" for name, sha256 in sorted(_hashes(folder, _names(folder)).items())]
    write_atomic(folder / CHECKSUMS, "".join(lines).encode())


def check_files(folder: Path) -> FileCheck:
    """Hash every file of a release. Raises DefectoryError where its checksums cannot be read."""
    path = folder / CHECKSUMS
    if not path.is_file():
        return FileCheck(frozenset(), ())
    listed, there = _read(path), _names(folder)
    found = _hashes(folder, there & listed.keys())
    other = {name for name, sha256 in found.items() if sha256 != listed[name]}
    problems = [
        *(f"{name}: missing" for name in listed.keys() - there),
        *(f"{name}: not one of the release's files" for name in there - listed.keys()),
        *(f"{name}: expected SHA-256 {listed[name][:12]}…, found {found[name][:12]}…" for name in other),
    ]
    return FileCheck(frozenset(found.keys() - other), tuple(sorted(problems)))


def _read(path: Path) -> dict[str, str]:
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        sha256, gap, name = line.partition("  ")
        if len(sha256) != 64 or not gap:
            raise DefectoryError(f"{path}: line {number} is no SHA-256 and file name: make the release again")
        listed[check_below(name, str(path))] = sha256
    return listed


def _names(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {CHECKSUMS}


def _hashes(folder: Path, names: set[str]) -> dict[str, str]:
    ordered = sorted(names)
    with ThreadPoolExecutor() as readers:
        return dict(zip(ordered, readers.map(lambda name: file_sha256(folder / name), ordered), strict=True))


def damaged_samples(folder: Path, manifest: pa.Table) -> Iterator[str]:
    """A line for each sample that is not what `manifest` says, and one for each shard that cannot be read.

    `manifest` has the columns sample_id, shard, row, image_sha256 and mask_sha256.
    """
    shards = manifest["shard"].unique().sort().to_pylist()
    with ThreadPoolExecutor() as readers:
        for problems in readers.map(partial(_damaged_of, folder, manifest), shards):
            yield from problems


def _damaged_of(folder: Path, manifest: pa.Table, shard: str) -> list[str]:
    listed = manifest.filter(pc.equal(manifest["shard"], shard)).select(_LISTED).to_pylist()
    try:
        found = _stored(folder / shard)
    except (OSError, pa.ArrowException) as error:
        return [f"{shard}: cannot be read ({str(error).splitlines()[0]})"]
    return [f"{shard}: {problem}" for row in listed for problem in _differences(row, found)]


def _stored(shard: Path) -> list[tuple[str, ...]]:
    """Of each row the sample_id and the hashes of its pictures, in the order of `HASHED_PICTURES`."""
    rows: list[tuple[str, ...]] = []
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(
            IMAGE_ROWS, columns=["sample_id", *(f"{name}.bytes" for name in HASHED_PICTURES)]
        ):
            pictures = [batch.column(name).field("bytes").to_pylist() for name in HASHED_PICTURES]
            hashes = [[sha256(content or b"") for content in contents] for contents in pictures]
            rows += zip(batch.column("sample_id").to_pylist(), *hashes, strict=True)
    return rows


def _differences(listed: dict[str, Any], found: list[tuple[str, ...]]) -> Iterator[str]:
    number, sample_id = listed["row"], listed["sample_id"]
    if number >= len(found):
        yield f"{sample_id}: there is no row {number}"
    elif found[number][0] != sample_id:
        yield f"{sample_id}: row {number} holds {found[number][0]}"
    else:
        for name, stored in zip(HASHED_PICTURES, found[number][1:], strict=True):
            if stored != listed[f"{name}_sha256"]:
                yield f"{sample_id}: its {name} is not the one in the manifest"
