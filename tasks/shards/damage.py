"""Are the pictures of a release those that its manifest hashed? Every byte of every sample is looked at.

In: a release's folder. Out: one line a problem. The pictures are hashed a row group at a time, shards side by
side, so that memory stays bounded and the disk, or the hashing, sets the pace.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.files.atomic import sha256
from tasks.files.tables import IMAGE_ROWS

PICTURES = ("image", "mask")
_LISTED = ["sample_id", "row", *(f"{name}_sha256" for name in PICTURES)]


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
    """Of each row the sample_id and the hashes of its pictures, in the order of `PICTURES`."""
    rows: list[tuple[str, ...]] = []
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(IMAGE_ROWS, columns=["sample_id", *(f"{name}.bytes" for name in PICTURES)]):
            pictures = [batch.column(name).field("bytes").to_pylist() for name in PICTURES]
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
        for name, stored in zip(PICTURES, found[number][1:], strict=True):
            if stored != listed[f"{name}_sha256"]:
                yield f"{sample_id}: its {name} is not the one in the manifest"
