"""Is a version in the store, whole? And what did a push add?

In: the outputs that a dvc.lock records, and the store. Out: one line for each object that is missing or
wrong. Why not trust the push: dvc counts what it believes to have sent; a tag must promise what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.store.s3 import Store, StoredObject
from tasks.versions.locked import LockedOutput
from tasks.versions.remote import CONTENT, Expected, content_key, files_of


@dataclass(frozen=True)
class Problem:
    """An object that is missing from the store, or wrong in it."""

    text: str
    """Names the file of the version, the object, and what is the matter."""
    stale: tuple[str, ...]
    """Objects in the store that keep dvc from sending it again: the wrong one, and its directory's listing."""


@dataclass(frozen=True)
class RemoteCheck:
    objects: int
    """Checked, each once."""
    problems: tuple[Problem, ...]


def check_remote(
    store: Store,
    outputs: Iterable[LockedOutput],
    repo: Path | None = None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> RemoteCheck:
    """Compare every object of the outputs with the store: there, of the right size, with the right MD5.

    The MD5 is the ETag of an object sent in one part; where the ETag is something else, the bytes are read.
    Of an object sent in several parts the size is compared, with the file below `repo` where there is one.
    Files whose name `wanted` refuses are left out.
    """
    listing = store.listing(CONTENT)
    expected: dict[str, Expected] = {}
    for output in outputs:
        whole = Expected(
            f"{output.path} (its listing)", content_key(output.md5), output.md5[:32], None, content_key(output.md5)
        )
        expected[whole.key] = whole
        if not _trouble(store, listing, whole):
            expected |= {item.key: item for item in files_of(store, output, repo) if wanted(item.name)}
    troubles = ((item, _trouble(store, listing, item)) for item in expected.values())
    problems = [
        Problem(f"{item.name}: {item.key} {text}", tuple({item.key, item.listing_key} & listing.keys()))
        for item, text in troubles
        if text
    ]
    return RemoteCheck(len(expected), tuple(problems))


def added(before: dict[str, StoredObject], after: dict[str, StoredObject]) -> tuple[int, int]:
    """How many objects a push added, and how many bytes."""
    fresh = [stored.size for key, stored in after.items() if before.get(key) != stored]
    return len(fresh), sum(fresh)


def forget(store: Store, problems: Iterable[Problem]) -> None:
    """Make dvc send what is missing or wrong again.

    dvc takes a directory whose listing is in the store for a whole one and never looks at its files again:
    so the listing goes too. Nothing is lost, the push that follows has all of it.
    """
    for key in {key for problem in problems for key in problem.stale}:
        store.delete(key)


def _trouble(store: Store, listing: dict[str, StoredObject], item: Expected) -> str:
    """What is the matter with an object; empty when nothing is."""
    stored = listing.get(item.key)
    if stored is None:
        return "is not in the store"
    if item.size is not None and stored.size != item.size:
        return f"has {stored.size} bytes in the store, expected {item.size}"
    if stored.etag == item.md5 or "-" in stored.etag or store.md5(item.key) == item.md5:
        return ""
    return "holds other bytes in the store than were pushed"
