"""The files of one version, read one by one: from a release's folder, or by a git tag out of dvc's storage.

In: a folder or a tag. Out: what a diff needs of it, and single samples' pictures. Nothing else is transferred: of a
shard only the row groups that hold a wanted sample.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow.parquet as pq
import yaml

from flows.versions.repository import RESOLVED
from tasks.contracts import DefectoryError, Image, Mask, check_below
from tasks.files.names import MANIFEST, METRICS
from tasks.files.pictures import decode_image, decode_mask
from tasks.release.diff import Released
from tasks.store.addresses import check_address, without_credentials
from tasks.store.s3 import CHECKSUM_VARIABLES
from tasks.versions.locked import RELEASE, outputs_of

Open = Callable[[str], IO[bytes]]


@dataclass(frozen=True)
class VersionFiles:
    """A version whose files can be opened."""

    name: str
    open: Open
    """By the path below the release's folder; raises OSError."""
    settings: Mapping[str, Any] | None
    """Params with the code's version; None of a folder, which does not hold them."""


def open_version(name: str, repo: str) -> VersionFiles:
    """The release folder `name` (or a checkout with one) where there is such a folder, else the tag of `repo`.

    Raises DefectoryError where it is neither.
    """
    for folder in (Path(name), Path(name) / RELEASE):
        if (folder / MANIFEST).is_file():
            return VersionFiles(name, _below(folder), None)
    if Path(name).is_dir():
        raise DefectoryError(f"{name}: no release in this folder: expected a manifest.parquet, or {RELEASE}")
    if Path(repo).is_dir():
        outputs_of(Path(repo), name)  # names the tags there are
    return _of_tag(name, repo)


def read_released(version: VersionFiles) -> Released:
    """Manifest, ledger and metrics. Raises DefectoryError naming the file that cannot be read."""
    manifest, ledger = (_read(version, f"{name}.parquet", _table) for name in ("manifest", "ledger"))
    return Released(manifest, ledger, _read(version, METRICS, json.load))


def read_released_pictures(version: VersionFiles, rows: pd.DataFrame) -> dict[str, tuple[Image, Mask]]:
    """Image and mask of each sample of `rows`, which are of the manifest, by its name."""
    found: dict[str, tuple[Image, Mask]] = {}
    for shard, group in rows.groupby("shard"):
        path = check_below(str(shard), f"{version.name}: manifest.parquet")
        for row in _read(version, path, _rows_of(group["sample_id"])):
            found[row["sample_id"]] = decode_image(row["image"]["bytes"]), decode_mask(row["mask"]["bytes"])
    return found


def _below(folder: Path) -> Open:
    return lambda path: (folder / path).open("rb")


def _of_tag(tag: str, repo: str) -> VersionFiles:
    check_address(repo, "repository", "leave it to git's credential helper")
    os.environ.update(CHECKSUM_VARIABLES)  # for the S3 client that dvc brings, as in dvc's own processes
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # what it would say is in the errors
    try:
        files = DVCFileSystem(repo, rev=tag)
        files.ls("/")  # nothing is looked up before, and `exists` below takes every error for a no
        settings = next((files.read_bytes(name) for name in (RESOLVED, "params.yaml") if files.exists(name)), b"{}")
    except (DvcException, OSError) as error:
        raise DefectoryError(f"{repo}: the version {tag!r} cannot be read: {without_credentials(str(error))}") from None

    def open_file(path: str) -> IO[bytes]:
        try:
            opened: IO[bytes] = files.open(f"{RELEASE}/{path}")
            return opened
        except DvcException as error:
            raise OSError(str(error)) from None

    return VersionFiles(tag, open_file, _without_copies(yaml.safe_load(settings)))


def _without_copies(settings: dict[str, Any]) -> dict[str, Any]:
    """`systems` repeats the blocks of the systems in use, for dvc."""
    return {name: block for name, block in settings.items() if name != "systems"}


def _read(version: VersionFiles, path: str, read: Callable[[IO[bytes]], Any]) -> Any:
    try:
        with version.open(path) as file:
            return read(file)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DefectoryError(
            f"{version.name}: {path} cannot be read ({reason}); pull or push the version again"
        ) from None


def _table(file: IO[bytes]) -> pd.DataFrame:
    return pq.read_table(file).to_pandas()


def _rows_of(sample_ids: Iterable[str]) -> Callable[[IO[bytes]], list[dict[str, Any]]]:
    wanted, columns = [("sample_id", "in", list(sample_ids))], ["sample_id", "image", "mask"]

    def read(file: IO[bytes]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(file, columns=columns, filters=wanted).to_pylist()
        return rows

    return read
