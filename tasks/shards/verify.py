"""Are the candidates on disk those that were written? Hashes every file of every planned shard."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tasks.contracts import ShardPlan
from tasks.shards.files import sha256_of, shard_files
from tasks.shards.read import Marker, read_marker


def verify_shards(root: Path, plans: Iterable[ShardPlan]) -> list[str]:
    """One line a problem, naming the shard, the file and what to do; empty when all is well."""
    with ThreadPoolExecutor() as readers:
        return [line for lines in readers.map(partial(_verify, root), plans) for line in lines]


def _verify(root: Path, plan: ShardPlan) -> list[str]:
    files = shard_files(root, plan)
    marker = read_marker(files.marker)
    if marker is None:
        state = "is damaged" if files.marker.exists() else "is missing, so it was not finished"
        return [f"{plan.name}: {files.marker.name} {state}; run `defectory resume` to make the shard"]
    if marker.fingerprint != plan.fingerprint:
        return [f"{plan.name}: made from other params, inputs or model; run `defectory resume` to make it again"]
    again = f"remove {files.marker} and run `defectory resume` to make the shard again"
    problems = (_problem(path, marker) for path in files.data)
    return [f"{plan.name}: {problem}; {again}" for problem in problems if problem]


def _problem(path: Path, marker: Marker) -> str:
    if path.name not in marker.files:
        return f"{path.name} is not in the done-marker"
    if not path.is_file():
        return f"{path.name} is missing"
    size, expected = marker.files[path.name]
    if path.stat().st_size != size:
        return f"{path.name} is damaged: expected {size} bytes, found {path.stat().st_size}"
    found = sha256_of(path)
    return (
        "" if found == expected else f"{path.name} is damaged: expected SHA-256 {expected[:12]}…, found {found[:12]}…"
    )
