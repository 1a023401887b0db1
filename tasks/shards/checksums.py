"""The checksums of a release's files: `sha256sum --check SHA256SUMS` reads them without anything of ours.

In: a release's folder. Out: a line a file, and later what has changed since. Whole files are hashed, shards side by
side, at the pace of the disk or of the hashing, however small the pictures are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tasks.contracts import DefectoryError, check_below
from tasks.files.atomic import sha256_of, write_atomic

CHECKSUMS = "SHA256SUMS"


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
        return dict(zip(ordered, readers.map(lambda name: sha256_of(folder / name), ordered), strict=True))
