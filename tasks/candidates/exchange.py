"""What workers on several machines have in common: one folder of an S3 store for each run, and nothing else.

In: a store whose address is that folder. Out: the run's kit (params, inputs, models) at every worker, and finished
shards where they are collected.

    objects/<sha256>               every file's bytes, below their own hash
    kit.json                       params, and the files of inputs and models; written after their objects
    done/<category>/<number>.json  a shard's done-marker; written after its objects

An object is the right one or it is refused, two workers that make the same shard cannot mix their files, and doing
anything twice changes nothing: so nobody has to agree on anything, and whoever dies leaves no half of anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.candidates.files import shard_files
from tasks.candidates.read import Marker, parse_marker
from tasks.contracts import DefectoryError, ShardPlan, check_below
from tasks.files.atomic import PARTIAL, remove, replacing, write_atomic
from tasks.files.hashing import file_sha256
from tasks.files.json_text import json_bytes, write_json
from tasks.inputs.dataset import Inputs
from tasks.params import CODE_VERSION, Params, fingerprint
from tasks.store.s3 import MissingObjectError, Store

KIT_PARAMS, KIT_DATA = "params.yaml", "data"
"""Of a workspace that `fetch_kit` makes."""
_KIT, _OBJECTS, _DONE = "kit.json", "objects/", "done/"
_PARTS_OF_KIT = ("inputs", "models")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DamagedError(DefectoryError):
    """An object of the store does not have the bytes that its name says."""


def run_name(params: Params, inputs: Inputs, model_sha256: str) -> str:
    """The last part of a run's address: equal only where params, inputs, models and the code's version are."""
    return fingerprint(CODE_VERSION, params, inputs.sha256, model_sha256)[:32]


def share_kit(store: Store, params: Params, data: Path) -> int:
    """Send params, inputs and models, each file at most once; returns how many bytes were sent."""
    stored = store.listing(_OBJECTS)
    files = {path.relative_to(data).as_posix(): path for part in _PARTS_OF_KIT for path in _files(data / part)}
    hashes = {name: file_sha256(path) for name, path in files.items()}
    sent = 0
    for name, path in files.items():
        size, key = path.stat().st_size, _OBJECTS + hashes[name]
        if key not in stored or stored[key].size != size:
            store.upload(path, key)
            sent += size
    kit = {"params": params.model_dump(mode="json"), "files": hashes}
    store.write(_KIT, json_bytes(kit))
    return sent


def fetch_kit(store: Store, folder: Path) -> None:
    """Bring the kit to `folder`: its params and data. What is there already, whole, is not fetched again.

    Raises DefectoryError where the kit is not there whole or names a file outside of inputs and models.
    """
    kit = _read_kit(store)
    for name, sha256 in kit["files"].items():
        target = folder / KIT_DATA / name
        if not (target.is_file() and file_sha256(target) == sha256):
            _fetch(store, sha256, target)
    write_json(folder / KIT_PARAMS, kit["params"])


class Delivery:
    """The finished shards of a run, on their way from one worker."""

    def __init__(self, store: Store, candidates: Path) -> None:
        self._store, self._candidates = store, candidates
        self._there = delivered(store)

    def has(self, plan: ShardPlan) -> bool:
        return plan.name in self._there

    def send(self, plan: ShardPlan) -> None:
        """Send a shard that is finished here, its done-marker last."""
        files = shard_files(self._candidates, plan)
        for path in files.data:
            self._store.upload(path, _OBJECTS + file_sha256(path))
        self._store.write(_done_key(plan), files.marker.read_bytes())
        self._there.add(plan.name)


def delivered(store: Store) -> set[str]:
    """The names of the shards whose done-marker is in the store; for comparing with planned ones, and for no path."""
    return {key.removeprefix(_DONE).removesuffix(".json") for key in store.listing(_DONE)}


def collect_shard(store: Store, candidates: Path, plan: ShardPlan) -> bool:
    """Bring a delivered shard to `candidates`, its done-marker last; whether it was good.

    One of other params, one without a painted sample, or one that is damaged is withdrawn from the store instead, and
    so is there to be made again.
    """
    files = shard_files(candidates, plan)
    try:
        text = store.read(_done_key(plan))
        marker = parse_marker(text)
        if marker is None or not _belongs(marker, plan, {path.name for path in files.data}):
            raise DamagedError(f"{store.url}/{_done_key(plan)}: damaged, or of another run")
        remove(files.marker)  # an older one would vouch for files that are being replaced
        for path in files.data:
            _fetch(store, marker.files[path.name][1], path)
    except (DamagedError, MissingObjectError):
        store.delete(_done_key(plan))
        return False
    write_atomic(files.marker, text)
    return True


def _belongs(marker: Marker, plan: ShardPlan, names: set[str]) -> bool:
    hashes = all(_SHA256.fullmatch(sha256) for _, sha256 in marker.files.values())
    return marker.fingerprint == plan.fingerprint and set(marker.files) == names and hashes and marker.painted > 0


def _read_kit(store: Store) -> dict[str, Any]:
    try:
        kit = json.loads(store.read(_KIT))
        params, files = dict(kit["params"]), dict(kit["files"])
    except MissingObjectError:
        raise DefectoryError(
            f"{store.url}: no run is shared there; `defectory share` does it, and prints its address"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DefectoryError(f"{store.url}/{_KIT}: damaged; share the run again") from None
    for name, sha256 in files.items():
        check_below(name, f"{store.url}/{_KIT}")
        if name.split("/")[0] not in _PARTS_OF_KIT or not _SHA256.fullmatch(str(sha256)):
            raise DefectoryError(f"{store.url}/{_KIT}: {name!r} is no file of inputs or models; do not use this run")
    return {"params": params, "files": files}


def _fetch(store: Store, sha256: str, target: Path) -> None:
    """Put an object at `target` once it is known to be the right one. Raises DamagedError where it is not."""
    with replacing(target) as partial:
        try:
            store.download(_OBJECTS + sha256, partial)
            if file_sha256(partial) != sha256:
                store.delete(_OBJECTS + sha256)
                raise DamagedError(f"{store.url}/{_OBJECTS}{sha256}: damaged, and removed; share the run again")
        except DefectoryError:
            partial.unlink(missing_ok=True)
            raise


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(PARTIAL))


def _done_key(plan: ShardPlan) -> str:
    return f"{_DONE}{plan.name}.json"
