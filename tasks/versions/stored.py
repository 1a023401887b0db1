"""A released version where it lies in its store: its manifest, read at once, and any rows of it.

In: what a tag says of its release, and the store. Out: pictures as they were encoded. Each error names the tag, the
file of the version and, of a stored object, its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.contracts import DefectoryError
from tasks.release.reader import read_manifest
from tasks.store.s3 import Store
from tasks.stored_shards import StoredShard
from tasks.versions.locked import LockedOutput
from tasks.versions.remote import Expected, files_of
from tasks.versions.stream_order import Rows

_MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class StoredRelease:
    tag: str
    md5: str
    """Of the release's listing, as in its dvc.lock."""
    manifest: pd.DataFrame
    shards: dict[str, StoredShard]
    """By the manifest's name of each."""

    def read(self, rows: Rows, verify: bool) -> dict[int, dict[str, Any]]:
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
    if _MANIFEST not in files:
        raise DefectoryError(f"{tag}: {output.path} holds no {_MANIFEST}: publish it again")
    with _named(tag):
        manifest = _read_manifest(store, files[_MANIFEST])
    names = manifest["shard"].unique()
    if missing := sorted(set(names) - set(files)):
        raise DefectoryError(f"{tag}: its manifest names {missing[0]}, which it does not hold: publish it again")
    shards = {name: StoredShard(store.url, store.endpoint, files[name].key) for name in names}
    return StoredRelease(tag, output.md5, manifest, shards)


def _read_manifest(store: Store, file: Expected) -> pd.DataFrame:
    content = store.read(file.key)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
        raise DefectoryError(f"{_MANIFEST}: {file.key} holds other bytes in the store than were pushed: publish again")
    return read_manifest(pa.BufferReader(content), f"{_MANIFEST}, {file.key}").to_pandas()


def _check(row: Any, stored: dict[str, Any], key: str, verify: bool) -> None:
    """`row` is a row of the manifest."""
    if stored["sample_id"] != row.sample_id:
        raise DefectoryError(
            f"row {row.row} of {key} holds {stored['sample_id']}, expected {row.sample_id}: publish again"
        )
    for name in ("image", "mask") if verify else ():
        if hashlib.sha256(stored[name]["bytes"]).hexdigest() != getattr(row, f"{name}_sha256"):
            raise DefectoryError(f"the {name} of {row.sample_id} in {key} is not the manifest's: publish again")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise DefectoryError(f"{what}: {error}") from None
