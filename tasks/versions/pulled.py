"""A pulled release as a torch Dataset over its manifest.

In: a release folder (`manifest.parquet` and the shards it names). Out: images, masks and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from torch.utils.data import Dataset

from tasks.contracts import DefectoryError
from tasks.files.names import MANIFEST
from tasks.release.checksums import check_files, damaged_samples
from tasks.release.reader import SHARD_COLUMNS, make_item, read_manifest
from tasks.versions.locked import RELEASE, LockedOutput, locked_outputs


class ReleaseDataset(Dataset[dict[str, Any]]):
    """The samples of a release folder, in the manifest's order.

    An item is a dict of `image` (uint8 tensor, (3, height, width), RGB), `mask` (bool tensor, (height,
    width), True in the defect), `label` (int, an index into `.labels`, the release's defect types in
    alphabetical order) and `sample_id`. `transform` takes and returns such a dict.
    Holds no open file, so that it can be handed to the workers of a DataLoader.
    """

    def __init__(self, folder: Path, transform: Callable[[dict[str, Any]], Any] | None = None) -> None:
        """Raises DefectoryError when the manifest or one of the shards it names is not there."""
        self.folder, self.transform = folder, transform
        # As Arrow holds it: rows as Python objects take four times as much, and once more in every worker.
        manifest = read_manifest(folder / MANIFEST)
        self._columns = {name: manifest[name].combine_chunks() for name in manifest.column_names}
        self.labels = self._values("defect_type")
        self.categories = self._values("category")
        missing = [shard for shard in self._values("shard") if not (folder / shard).is_file()]
        if missing:
            raise DefectoryError(f"{folder}: {len(missing)} shards are missing, the first is {missing[0]}: pull again")

    def __len__(self) -> int:
        return len(self._columns["row"])

    def __getitem__(self, index: int) -> Any:
        row = {name: self._columns[name][index].as_py() for name in ("sample_id", "defect_type", "shard", "row")}
        image, mask = self._encoded(row)
        item = make_item(row["sample_id"], image, mask, self.labels.index(row["defect_type"]))
        return self.transform(item) if self.transform else item

    def damaged(self) -> Iterator[str]:
        """Read every file; yields a line for each that is not the one that was released, and for each sample that is
        not what the manifest hashed. Samples are looked at where their shard's own checksum does not vouch for them."""
        files = check_files(self.folder)
        yield from files.problems
        manifest = pa.table(self._columns)
        vouched = pc.is_in(manifest["shard"], pa.array(sorted(files.whole), pa.string()))
        yield from damaged_samples(self.folder, manifest.filter(pc.invert(vouched)))

    def _values(self, column: str) -> tuple[str, ...]:
        return tuple(sorted(self._columns[column].unique().to_pylist()))

    def _encoded(self, row: dict[str, Any]) -> tuple[bytes, bytes]:
        path = self.folder / row["shard"]
        state = path.stat()  # part of what is cached: the file may be another one the next time
        shard = _Shard(str(path), state.st_mtime_ns, state.st_ino, state.st_size)
        group, offset = _locate(_group_sizes(shard), row["row"], shard.path)
        stored = _read_group(shard, group)[offset]
        if stored["sample_id"] != row["sample_id"]:
            raise DefectoryError(f"{path}: row {row['row']} holds {stored['sample_id']}, expected {row['sample_id']}")
        return stored["image"]["bytes"], stored["mask"]["bytes"]


def pulled_folder(tag: str, output: LockedOutput, repo: Path) -> Path:
    """The folder of the release. Raises DefectoryError where it is not exactly what the tag names."""
    folder = repo / RELEASE
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise DefectoryError(f"{folder} is empty: pull the version first: defectory pull {tag}")
    lock = locked_outputs((repo / "dvc.lock").read_text(encoding="utf-8"))
    whole = len(files) == output.files and sum(path.stat().st_size for path in files) == output.size
    if output not in lock or not whole:
        raise DefectoryError(f"{folder} is not the version {tag!r}, or not all of it: defectory pull {tag}")
    return folder


@dataclass(frozen=True)
class _Shard:
    """A file at one moment."""

    path: str
    modified: int
    inode: int
    size: int


@lru_cache(maxsize=1024)
def _group_sizes(shard: _Shard) -> tuple[int, ...]:
    metadata = parquet.read_metadata(shard.path)
    return tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))


@lru_cache(maxsize=4)  # a group is some 10 MB; reading in the manifest's order decodes each one once
def _read_group(shard: _Shard, group: int) -> list[dict[str, Any]]:
    with parquet.ParquetFile(shard.path) as file:
        rows: list[dict[str, Any]] = file.read_row_group(group, columns=SHARD_COLUMNS).to_pylist()
        return rows


def _locate(sizes: tuple[int, ...], row: int, path: str) -> tuple[int, int]:
    """The row group of a shard's row, and the row's place in it."""
    for group, size in enumerate(sizes):
        if row < size:
            return group, row
        row -= size
    raise DefectoryError(f"{path}: the manifest names a row beyond its {sum(sizes)} rows: pull again")
