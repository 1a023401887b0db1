"""Are the candidates on disk those that were written? Hashes every file of every planned shard.

A done-marker vouches for its files. Where they are not what it says it is taken away, so that the next run makes the
shard again: a run itself hashes no shard that is done, which would cost it a reading of all candidates.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tasks.candidates.files import shard_files
from tasks.candidates.read import Marker, read_marker
from tasks.contracts import ShardPlan
from tasks.files.atomic import remove
from tasks.files.hashing import file_sha256


def verify_shards(root: Path, plans: Iterable[ShardPlan]) -> list[str]:
    """One line a problem, naming the shard, the file and what to do; empty when all is well.

    A damaged shard loses its done-marker. To be called where nobody else writes.
    """
    with ThreadPoolExecutor() as readers:
        return [line for lines in readers.map(partial(_verify, root), plans) for line in lines]


def _verify(root: Path, plan: ShardPlan) -> list[str]:
    files = shard_files(root, plan)
    marker = read_marker(files.marker)
    if marker is None:
        state = "is damaged" if files.marker.exists() else "is missing, so it was not finished"
        return [f"{plan.name}: {files.marker.name} {state}; `defectory run` makes the shard"]
    if marker.fingerprint != plan.fingerprint:
        return [f"{plan.name}: made from other params, inputs or model; `defectory run` makes it again"]
    problems = [problem for path in files.data if (problem := _problem(path, marker))]
    if not problems:
        return []
    then = _withdraw(files.marker)
    return [f"{plan.name}: {problem}; {then}" for problem in problems]


def _withdraw(marker: Path) -> str:
    try:
        remove(marker)
    except OSError as error:
        return f"{marker} could not be removed ({error.strerror}): remove it, then `defectory run` makes it again"
    return f"{marker.name} no longer vouches for it, so `defectory run` makes it again"


def _problem(path: Path, marker: Marker) -> str:
    if path.name not in marker.files:
        return f"{path.name} is not in the done-marker"
    if not path.is_file():
        return f"{path.name} is missing"
    size, expected = marker.files[path.name]
    if path.stat().st_size != size:
        return f"{path.name} is damaged: expected {size} bytes, found {path.stat().st_size}"
    found = file_sha256(path)
    return (
        "" if found == expected else f"{path.name} is damaged: expected SHA-256 {expected[:12]}…, found {found[:12]}…"
    )
