"""Read a released version: a torch Dataset over its manifest, and what a git tag says it is.

In: a release folder (`manifest.parquet` and the shards it names), or a tag in a checkout, whose release was
pulled or lies in the store alone. Out: images, masks and labels. Why apart from dvc: a training machine needs
torch, pyarrow and pillow to read a version, and git to know which one it has.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import yaml
from torch.utils.data import Dataset

from tasks.contracts import DefectoryError
from tasks.release.checksums import check_files, damaged_samples
from tasks.release.reader import PICTURES, make_item, read_manifest

if TYPE_CHECKING:
    from tasks.streams import StreamedRelease

RELEASE = "data/release"


@dataclass(frozen=True)
class LockedOutput:
    """A directory that a version holds, as dvc.lock records it."""

    path: str
    """Relative to the repository."""
    md5: str
    """Of the directory's listing, with dvc's ending `.dir`."""
    size: int
    """Bytes of all files together."""
    files: int


def locked_outputs(lock: str) -> tuple[LockedOutput, ...]:
    """The directories in the text of a dvc.lock, in its order."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {})
    outputs = [output for stage in stages.values() for output in stage.get("outs", [])]
    return tuple(
        LockedOutput(output["path"], output["md5"], output["size"], output["nfiles"])
        for output in outputs
        if output.get("md5", "").endswith(".dir")
    )


def outputs_of(repo: Path, tag: str) -> dict[str, LockedOutput]:
    """What the git tag `tag` holds, by path. Raises DefectoryError naming the tags there are."""
    shown = _git(repo, "show", f"refs/tags/{tag}:dvc.lock")
    if shown is None:
        tags = (_git(repo, "tag", "--list") or "").split()
        raise DefectoryError(f"{repo}: no version is tagged {tag!r}; tags here: {', '.join(tags) or 'none'}")
    return {output.path: output for output in locked_outputs(shown)}


def _git(repo: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=repo, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise DefectoryError(f"cannot run git in {repo}: install git, and give an existing checkout") from None
    return result.stdout if result.returncode == 0 else None


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
        manifest = read_manifest(folder / "manifest.parquet")
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


@dataclass(frozen=True)
class Stream:
    """How a version is read straight from its store, without a pull."""

    categories: tuple[str, ...] = ()
    """Only these; all where empty."""
    seed: int | None = None
    """Shuffles, anew in each epoch; without one the order is the manifest's."""
    buffer: int = 256
    """Samples that are held and mixed, beside as many that are fetched ahead; in each worker."""
    rank: int = 0
    world_size: int = 1
    """Processes that train together; each gets its own share, none differing by more than one sample."""
    verify: bool = False
    """Compare the SHA-256 of each image and mask with the manifest's."""
    endpoint: str | None = None
    """Another address of the store's server than the repository's."""


@overload
def open_release(
    tag: str, repo: Path = ..., transform: Callable[[dict[str, Any]], Any] | None = ..., stream: None = ...
) -> ReleaseDataset: ...


@overload
def open_release(
    tag: str, repo: Path = ..., transform: Callable[[dict[str, Any]], Any] | None = ..., *, stream: Stream
) -> StreamedRelease: ...


def open_release(
    tag: str,
    repo: Path = Path(),
    transform: Callable[[dict[str, Any]], Any] | None = None,
    stream: Stream | None = None,
) -> ReleaseDataset | StreamedRelease:
    """The Dataset of the version `tag`, read from a checkout into which its release was pulled.

    With `stream` nothing needs to be pulled, a clone alone is enough: an IterableDataset of the same items out of the
    store that the clone names. The key is where boto3 finds it: in the environment or a profile.

    Raises DefectoryError when there is no such tag; nothing was pulled, or another version is there; or the store, the
    key or one of the version's files is not as it should be.
    """
    output = outputs_of(repo, tag).get(RELEASE)
    if output is None:
        raise DefectoryError(f"{repo}: the tag {tag!r} holds no {RELEASE}")
    if stream is not None:
        # Here, because a folder is read without boto3.
        from tasks.remotes import remote_of
        from tasks.stored_release import open_stored
        from tasks.streams import StreamedRelease

        return StreamedRelease(open_stored(tag, output, remote_of(repo, stream.endpoint)), stream, transform)
    return ReleaseDataset(_pulled(tag, output, repo), transform)


def _pulled(tag: str, output: LockedOutput, repo: Path) -> Path:
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
        rows: list[dict[str, Any]] = file.read_row_group(group, columns=PICTURES).to_pylist()
        return rows


def _locate(sizes: tuple[int, ...], row: int, path: str) -> tuple[int, int]:
    """The row group of a shard's row, and the row's place in it."""
    for group, size in enumerate(sizes):
        if row < size:
            return group, row
        row -= size
    raise DefectoryError(f"{path}: the manifest names a row beyond its {sum(sizes)} rows: pull again")
