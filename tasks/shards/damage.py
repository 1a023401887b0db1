"""Are the pictures of a release those that its manifest hashed? Every byte of every sample is looked at.

In: a release's folder. Out: one line a problem. The pictures are hashed where they lie in a row group's memory, shards
side by side, so that the disk, not Python, sets the pace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.shards.encode import IMAGE_ROWS

PICTURES = ("image", "mask")


def damaged_samples(folder: Path, manifest: pa.Table) -> Iterator[str]:
    """A line for each sample that is not what `manifest` says, and one for each shard that cannot be read.

    `manifest` has the columns sample_id, shard, row, image_sha256 and mask_sha256.
    """
    shards = manifest["shard"].unique().sort().to_pylist()
    with ThreadPoolExecutor() as readers:
        for problems in readers.map(partial(_damaged_of, folder, manifest), shards):
            yield from problems


def _damaged_of(folder: Path, manifest: pa.Table, shard: str) -> list[str]:
    listed = {row["row"]: row for row in manifest.filter(pc.equal(manifest["shard"], shard)).to_pylist()}
    problems = []
    try:
        with pq.ParquetFile(folder / shard) as file:
            wanted = ["sample_id", *(f"{name}.bytes" for name in PICTURES)]
            for number, found in enumerate(_stored(file, wanted)):
                expected = listed.pop(number, None)
                if expected is not None:
                    problems += _differences(expected, found)
    except (OSError, pa.ArrowException) as error:
        return [f"{shard}: cannot be read ({str(error).splitlines()[0]})"]
    return problems + [f"{row['sample_id']}: {shard} has no row {number}" for number, row in listed.items()]


def _stored(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, str]]:
    """Each row's sample_id, and the hashes of its pictures under the manifest's names."""
    for batch in file.iter_batches(IMAGE_ROWS, columns=columns):
        pictures = {name: batch.column(name).field("bytes") for name in PICTURES}
        for place, sample_id in enumerate(batch.column("sample_id").to_pylist()):
            yield {
                "sample_id": sample_id,
                **{f"{name}_sha256": _sha256(stored[place]) for name, stored in pictures.items()},
            }


def _sha256(stored: pa.BinaryScalar) -> str:
    content = stored.as_buffer()
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _differences(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    if found["sample_id"] != expected["sample_id"]:
        yield f"{expected['shard']}: row {expected['row']} holds {found['sample_id']}, not {expected['sample_id']}"
        return
    for name in PICTURES:
        if found[f"{name}_sha256"] != expected[f"{name}_sha256"]:
            yield f"{expected['sample_id']}: its {name} in {expected['shard']} is not the one in the manifest"
