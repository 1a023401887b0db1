"""How a file gets to where it belongs whole or not at all.

A process can die between any two steps: what then lies under a final name is complete, and what is not carries a
temporary name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.contracts import DefectoryError

PARTIAL = ".partial"
"""The ending of a file that is being written; `sweep_stale` removes what a dead process left."""


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` under `path` so that a reader sees the old file or the new one, even after a power cut.

    Raises DefectoryError naming the path when the disk is full or refuses.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the name of a file to write; when the block ends it has the name `path`, whole and for good.

    The temporary name holds the process number, so that two processes at the same file do not write into one another.
    Raises DefectoryError naming the path when the disk is full or refuses.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        os.replace(partial, path)  # noqa: PTH105 (spelt as the system call whose atomicity is relied on)
        _sync(path.parent)  # a rename is only durable once the folder that holds the name is
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DefectoryError(_describe(path, error)) from error


def partial_name(path: Path) -> Path:
    """Where this process writes the file before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


def remove(path: Path) -> None:
    """Remove a file for good, so that it does not come back after a power cut."""
    if path.exists():
        path.unlink()
        _sync(path.parent)


def remove_partial(folder: Path) -> None:
    """Remove what dead processes were writing in `folder`; to be called where nobody else writes."""
    for path in sorted(folder.glob(f".*{PARTIAL}")):
        remove(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{path}: no disk space left; free some and resume with the same command, what is finished is kept"
    return f"{path}: could not be written ({error.strerror or error}); check the folder's permissions and resume"
