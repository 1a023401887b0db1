"""A released version where it lies in its store: its manifest, read at once, and any rows of it.

In: what a tag says of its release, and the store. Out: pictures as they were encoded. Each error names the tag, the
file of the version and, of a stored object, its key.

Of a shard its end is fetched by one request, then each wanted row group by one or two. Clients and ends are kept for
each process: a client must not cross a fork, and the end of a small shard is all of it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from tasks.contracts import DefectoryError
from tasks.files.hashing import sha256
from tasks.files.names import MANIFEST
from tasks.release.reader import SHARD_COLUMNS, read_manifest
from tasks.store.s3 import Store
from tasks.versions.locked import LockedOutput
from tasks.versions.remote import Expected, files_of
from tasks.versions.stream_order import Positions

_END_BYTES = 512 << 10
"""All of a shard of a dozen images of 256 px. At least the 64 KiB that pyarrow reads at once to find a footer."""


@dataclass(frozen=True)
class StoredShard:
    """Where a shard lies; unlike a `Store`, it can be handed to another process."""

    url: str
    endpoint: str | None
    key: str

    def read(self, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The columns of `SHARD_COLUMNS` of these rows, by row.

        Raises DefectoryError when the store does not give them or the object is no such shard.
        """
        store, end = _store_of(self.url, self.endpoint, os.getpid()), _end_of(self, os.getpid())
        edges = np.cumsum([0, *end.group_sizes])
        wanted = np.array(sorted(rows))
        if wanted[-1] >= edges[-1]:
            raise DefectoryError(f"{self.key} has {edges[-1]} rows, the manifest names row {wanted[-1]}: publish again")
        groups = np.unique(np.searchsorted(edges, wanted, side="right") - 1)
        numbers = np.concatenate([np.arange(edges[group], edges[group + 1]) for group in groups])
        source = pa.PythonFile(_Ranges(store, self.key, end.content, end.size), mode="r")
        try:
            with parquet.ParquetFile(source, metadata=end.metadata, pre_buffer=True) as file:
                table = file.read_row_groups(groups.tolist(), columns=SHARD_COLUMNS, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise DefectoryError(f"{self.key} is damaged ({str(error).splitlines()[0]}): publish again") from None
        chosen = table.take(np.flatnonzero(np.isin(numbers, wanted)))
        return dict(zip(wanted.tolist(), chosen.to_pylist(), strict=True))


@dataclass(frozen=True)
class StoredRelease:
    tag: str
    md5: str
    """Of the release's listing, as in its dvc.lock."""
    manifest: pd.DataFrame
    shards: dict[str, StoredShard]
    """By the manifest's name of each."""

    def read(self, rows: Positions, verify: bool) -> dict[int, dict[str, Any]]:
        """`sample_id`, `image` and `mask` of these rows of the manifest, all of one shard, by row.

        Raises DefectoryError when the store does not give them, or gives another sample's; with `verify` also when
        the bytes are not those that the manifest hashed.
        """
        listed = self.manifest.iloc[rows]
        name = listed["shard"].iloc[0]
        shard = self.shards[name]
        with _named(f"{self.tag}: {name}"):
            stored = shard.read(listed["row"].tolist())
            found = dict(zip(rows.tolist(), map(stored.__getitem__, listed["row"]), strict=True))
            for row, content in zip(listed.itertuples(), found.values(), strict=True):
                _check(row, content, shard.key, verify)
        return found


def open_stored(tag: str, output: LockedOutput, store: Store) -> StoredRelease:
    """Read listing and manifest. Raises DefectoryError when the store, its key or one of the two is not right."""
    with _named(f"{tag}: the listing of {output.path}"):
        files = {file.name.removeprefix(f"{output.path}/"): file for file in files_of(store, output)}
    if MANIFEST not in files:
        raise DefectoryError(f"{tag}: {output.path} holds no {MANIFEST}: publish it again")
    with _named(tag):
        manifest = _read_manifest(store, files[MANIFEST])
    names = manifest["shard"].unique()
    if missing := sorted(set(names) - set(files)):
        raise DefectoryError(f"{tag}: its manifest names {missing[0]}, which it does not hold: publish it again")
    shards = {name: StoredShard(store.url, store.endpoint, files[name].key) for name in names}
    return StoredRelease(tag, output.md5, manifest, shards)


def _read_manifest(store: Store, file: Expected) -> pd.DataFrame:
    content = store.read(file.key)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
        raise DefectoryError(f"{MANIFEST}: {file.key} holds other bytes in the store than were pushed: publish again")
    return read_manifest(pa.BufferReader(content), f"{MANIFEST}, {file.key}").to_pandas()


def _check(row: Any, stored: dict[str, Any], key: str, verify: bool) -> None:
    """`row` is a row of the manifest."""
    if stored["sample_id"] != row.sample_id:
        raise DefectoryError(
            f"row {row.row} of {key} holds {stored['sample_id']}, expected {row.sample_id}: publish again"
        )
    for name in ("image", "mask") if verify else ():
        if sha256(stored[name]["bytes"]) != getattr(row, f"{name}_sha256"):
            raise DefectoryError(f"the {name} of {row.sample_id} in {key} is not the manifest's: publish again")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise DefectoryError(f"{what}: {error}") from None


@dataclass(frozen=True)
class _End:
    """The last bytes of an object, its whole size and what the footer in them says."""

    content: bytes
    size: int
    metadata: parquet.FileMetaData
    group_sizes: tuple[int, ...]


@lru_cache(maxsize=4)
def _store_of(url: str, endpoint: str | None, process: int) -> Store:
    return Store(url, endpoint)


@lru_cache(maxsize=8)
def _end_of(shard: StoredShard, process: int) -> _End:
    store = _store_of(shard.url, shard.endpoint, process)
    content, size = store.read_end(shard.key, _END_BYTES)
    try:
        metadata = parquet.read_metadata(pa.PythonFile(_Ranges(store, shard.key, content, size), mode="r"))
    except pa.ArrowInvalid as error:
        raise DefectoryError(f"{shard.key} is no shard ({str(error).splitlines()[0]}): publish again") from None
    sizes = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return _End(content, size, metadata, sizes)


class _Ranges(io.RawIOBase):
    """An object as a file: what is in its end without a request, anything else by one each."""

    def __init__(self, store: Store, key: str, end: bytes, size: int) -> None:
        super().__init__()
        self._store, self._key, self._end, self._size, self._place = store, key, end, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, count: int = -1) -> bytes:
        start = min(self._place, self._size)
        stop = self._size if count < 0 else min(start + count, self._size)
        self._place = stop
        held = self._size - len(self._end)
        if start >= held:
            return self._end[start - held : stop - held]
        return self._store.read_range(self._key, start, stop)
