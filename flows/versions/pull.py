"""Bring a published version, or some categories of it, into a fresh folder: clone at the tag, check, fetch.

In: a tag, the repository it is in, and a folder. Out: `<folder>/data/release`, its bytes those that were
published; of a part, with a manifest of that part. Why the check of the store before: dvc names a missing
object by its hash, a reader wants the file's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.versions.remote_check import check_remote
from flows.versions.repository import dvc, git, override_endpoint
from tasks.contracts import DefectoryError
from tasks.files.atomic import write_atomic
from tasks.files.tables import encode_table
from tasks.release.checksums import CHECKSUMS
from tasks.release.manifest import PART, part_of_manifest
from tasks.store.addresses import check_address
from tasks.store.s3 import Store
from tasks.versions.locked import RELEASE, LockedOutput, outputs_of
from tasks.versions.remote import Expected, files_of, remote_of

_MANIFEST, _CARD, _IMAGES = f"{RELEASE}/manifest.parquet", f"{RELEASE}/README.md", f"{RELEASE}/images"
_READERS = 8
"""Objects that are read from the store at once."""


def pull(
    tag: str, repo: str | Path, destination: Path, endpoint: str | None = None, categories: Sequence[str] = ()
) -> Path:
    """Clone `repo` (a folder or an address) at `tag` into `destination` and pull its release; returns the folder.

    With `categories` their shards alone are transferred, with the card, and the manifest has their rows alone.

    `endpoint` overrides the server's address in the clone's own settings. An interrupted pull is taken up
    again. Raises DefectoryError when there is no such tag or category, `destination` holds anything else, or the
    store does not have what is asked for whole.
    """
    _clone(tag, repo, destination)
    if endpoint:
        override_endpoint(destination, endpoint)
    output = outputs_of(destination, tag).get(RELEASE)
    if output is None:
        raise DefectoryError(f"{destination}: the version {tag!r} holds no {RELEASE}")
    if categories:
        _pull_part(tag, destination, output, sorted(set(categories)))
    else:
        _check(tag, remote_of(destination), output, [f"{RELEASE}/"])
        _remove_part(destination / _MANIFEST)
        dvc(destination, "pull", RELEASE)
    return destination / RELEASE


def _pull_part(tag: str, destination: Path, output: LockedOutput, categories: Sequence[str]) -> None:
    store = remote_of(destination)
    files = {file.name: file for file in files_of(store, output)}
    there = sorted({name.split("/")[-2] for name in files if name.startswith(f"{_IMAGES}/")})
    if unknown := [name for name in categories if name not in there]:
        raise DefectoryError(f"{tag!r} holds no category {', '.join(unknown)}; it holds: {', '.join(there)}")
    wanted = [_CARD, *(f"{_IMAGES}/{name}/" for name in categories)]
    _check(tag, store, output, [_MANIFEST, *wanted])
    chosen = [file for name, file in files.items() if name.startswith(tuple(wanted))]
    # Not by dvc: after a pull of a part it may take the next one, of more, for done (dvc 3.67: the index that it keeps
    # of what to fetch is found by the whole directory's hash), and a shorter manifest for a change of the user's.
    with ThreadPoolExecutor(_READERS) as readers:
        list(readers.map(lambda file: _fetch(store, file, destination / file.name), chosen))
    (destination / RELEASE / CHECKSUMS).unlink(missing_ok=True)  # of another pull: they are of the whole
    _write_part(store, files[_MANIFEST], destination / _MANIFEST, categories)


def _fetch(store: Store, file: Expected, path: Path) -> None:
    if path.is_file() and _md5(path.read_bytes()) == file.md5:
        return
    content = store.read(file.key)
    if _md5(content) != file.md5:
        raise DefectoryError(f"{file.name}: {file.key} holds other bytes in the store than were pushed: publish again")
    write_atomic(path, content)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _check(tag: str, store: Store, output: LockedOutput, below: Sequence[str]) -> None:
    problems = check_remote(store, [output], wanted=lambda name: name.startswith(tuple(below))).problems
    if problems:
        raise DefectoryError(
            "\n  ".join([f"the store does not have {tag!r} whole:", *(problem.text for problem in problems[:10])])
        )


def _write_part(store: Store, manifest: Expected, path: Path, categories: Iterable[str]) -> None:
    table = pq.read_table(pa.BufferReader(store.read(manifest.key)))
    write_atomic(path, encode_table(part_of_manifest(table, categories)))


def _remove_part(manifest: Path) -> None:
    """A manifest of some categories makes way for the whole one."""
    if manifest.is_file() and PART in (pq.read_schema(manifest).metadata or {}):
        manifest.unlink()


def _clone(tag: str, repo: str | Path, destination: Path) -> None:
    check_address(str(repo), "repository", "git would keep it in the clone; leave it to git's credential helper")
    if destination.exists() and any(destination.iterdir()):
        if not (destination / ".git").exists() or tag not in git(destination, "tag", "--points-at", "HEAD").split():
            raise DefectoryError(f"{destination} holds something else than {tag!r}: give an empty folder")
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    source = str(Path(repo).resolve()) if Path(repo).exists() else str(repo)
    git(destination.parent, "clone", "--quiet", "--branch", tag, "--", source, destination.name)
