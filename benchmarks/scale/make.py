"""The stations that make a release: what a person runs, run as they run it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from benchmarks.line import idle_share
from benchmarks.scale.photographs import write_photographs
from benchmarks.scale.place import ENDPOINT, Figures, Place, params_text, size_of
from flows.generate import generate
from flows.inputs import inputs
from flows.line.stage import recorded
from flows.release import release
from flows.server.local_store import BUCKET
from flows.train import train
from flows.versions.repository import init_workspace
from tasks.candidates.read import is_finished
from tasks.files.names import METRICS
from tasks.inputs.dataset import read_inputs as read_built
from tasks.params import load_params
from tasks.plan import plan_shards
from tasks.synthesis.fitted import fitted_sha256
from tasks.workspace import Workspace

_PROJECT = Path(__file__).resolve().parents[2]


def set_up(place: Place) -> Figures:
    """Photographs, and a workspace that git and dvc know. No part of a run."""
    sources = write_photographs(_PROJECT.parent / "shared" / "data", place.photographs)
    place.workspace.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_PROJECT / "dvc.yaml", place.workspace / "dvc.yaml")
    place.params.write_text(params_text(sources, Path("../../photographs"), place.samples), encoding="utf-8")
    init_workspace(place.workspace, f"s3://{BUCKET}/{place.samples}", os.environ[ENDPOINT])
    return {"categories": len(sources)}


def read_inputs(place: Place) -> Figures:
    recorded(inputs, place.params, place.root, uses_model=False)
    recorded(train, place.params, place.root)  # nothing to fit, but the line asks for its mark
    return {"bytes": size_of(place.root / "inputs")}


def make(place: Place) -> Figures:
    recorded(generate, place.params, place.root)
    record = Workspace(place.root).read_timings("generate")
    return {
        "own share": idle_share(record),
        "station seconds": record["station_seconds"],
        "database": sum(path.stat().st_size for path in place.prefect_home.glob("prefect.db*")),
        "shards": len(record["shards"]),
        "bytes": size_of(place.root / "candidates"),
    }


def select(place: Place) -> Figures:
    recorded(release, place.params, place.root, uses_model=False)
    metrics = json.loads((place.root / "release" / METRICS).read_text(encoding="utf-8"))
    return {"accepted": metrics["accepted"], "bytes": size_of(place.root / "release")}


def scan(place: Place) -> Figures:
    """What a resumed run asks before it begins, where everything is done."""
    params, built = load_params(place.params), read_built(place.root / "inputs")
    start = time.perf_counter()
    plans = plan_shards(params, built, fitted_sha256(params, built, place.root / "models"))
    planned = time.perf_counter()
    missing = [plan for plan in plans if not is_finished(place.root / "candidates", plan)]
    assert not missing, f"{len(missing)} shards are missing"
    return {"plan seconds": planned - start, "scan seconds": time.perf_counter() - planned, "markers": len(plans)}
