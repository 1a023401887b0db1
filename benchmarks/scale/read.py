"""The stations that read a finished run: other thresholds, verify, a loader."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.scale.place import Figures, Place
from flows.versions.verbs import verify_here
from tasks.contracts import ShardPlan
from tasks.files.atomic import write_atomic
from tasks.files.hashing import file_sha256
from tasks.files.names import LEDGER, MANIFEST
from tasks.files.tables import encode_table
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.params import Params, SelectParams, load_params
from tasks.plan import plan_shards
from tasks.quality.nearest_real import read_real_descriptors
from tasks.release.judge import judge_candidates
from tasks.release.manifest import ACCEPTED, build_ledger, build_manifest
from tasks.synthesis.fitted import fitted_sha256
from tasks.versions import Stream, open_release
from tasks.workspace import Workspace

_BATCH, _WORKERS = 64, 2


def refilter(place: Place) -> Figures:
    """Other thresholds: from the candidates on disk to a manifest and a ledger, without pictures."""
    params, inputs = _params_and_inputs(place)
    changed = params.model_copy(update={"select": SelectParams()})
    start, busy = time.perf_counter(), time.process_time()
    plans, candidates = _plans(place, params, inputs), Workspace(place.root).candidates
    real = read_real_descriptors(candidates, inputs.sha256)
    judged = judge_candidates(candidates, plans, changed, real)
    accepted = judged[judged["status"] == ACCEPTED].assign(line_fingerprint="")
    write_atomic(place.base / "refiltered" / MANIFEST, encode_table(build_manifest(accepted)))
    write_atomic(place.base / "refiltered" / LEDGER, encode_table(build_ledger(judged, inputs.skipped)))
    seconds, computing = time.perf_counter() - start, time.process_time() - busy
    return {"work seconds": seconds, "work computing": computing, "accepted": len(accepted)}


def verify(place: Place) -> Figures:
    """All of the candidates and the release, read from the disk; beside it the same files hashed and nothing else."""
    files = [path for name in ("candidates", "release") for path in (place.root / name).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    forget(files)
    start, busy = time.perf_counter(), time.process_time()
    verify_here(place.params, place.root)
    seconds, computing = time.perf_counter() - start, time.process_time() - busy
    forget(files)
    start = time.perf_counter()
    for path in files:
        file_sha256(path)
    bare = time.perf_counter() - start
    return {"bytes": size, "rate": size / seconds, "bare rate": size / bare, "work computing": computing}


def forget(files: Iterable[Path]) -> None:
    """Drop the files from the kernel's memory, so that the next reader waits for the disk."""
    os.sync()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def stream(place: Place) -> Figures:
    """One pass over the version, shuffled, straight out of the store."""
    dataset = open_release("scale-v1", place.workspace, stream=Stream(seed=0))
    loader = DataLoader(dataset, batch_size=_BATCH, num_workers=_WORKERS)
    start = time.perf_counter()
    batches = iter(loader)
    given = len(next(batches)["image"])
    first = time.perf_counter() - start
    given += sum(len(batch["image"]) for batch in batches)
    seconds = time.perf_counter() - start
    return {"images": given, "rate": given / seconds, "seconds to the first batch": first}


def _params_and_inputs(place: Place) -> tuple[Params, Inputs]:
    return load_params(place.params), read_inputs(Workspace(place.root).inputs)


def _plans(place: Place, params: Params, inputs: Inputs) -> tuple[ShardPlan, ...]:
    return plan_shards(params, inputs, fitted_sha256(params, inputs, Workspace(place.root).models))
