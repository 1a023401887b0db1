"""Where a run at one size lies, and its params: a git and dvc workspace as a user has one, beside a store.

Below the folder: `photographs` and `store`, shared by all sizes, and a folder for each size with `workspace`, `part`,
`pulled`, `loose` and `figures.json`, in which every station's cost is kept as soon as it is known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Figures = dict[str, Any]
STATIONS = {
    "set up": "benchmarks.scale.make:set_up",
    "inputs": "benchmarks.scale.make:read_inputs",
    "generate": "benchmarks.scale.make:make",
    "resume scan": "benchmarks.scale.make:scan",
    "re-filter": "benchmarks.scale.read:refilter",
    "release": "benchmarks.scale.make:select",
    "verify": "benchmarks.scale.read:verify",
    "dvc add": "benchmarks.scale.version:add",
    "publish": "benchmarks.scale.version:push",
    "publish again": "benchmarks.scale.version:push",
    "pull a category": "benchmarks.scale.version:pull_part",
    "pull": "benchmarks.scale.version:pull_whole",
    "push loose files": "benchmarks.scale.loose:push_loose",
    "pull loose files": "benchmarks.scale.loose:pull_loose",
    "stream": "benchmarks.scale.read:stream",
}
"""Functions of a Place, by name, so that each process imports only what its station needs; in the order of the run."""
ENDPOINT = "SCALE_ENDPOINT"
"""The environment variable of the store's address."""
SHARD_SIZE = 500
_PARAMS = {
    "masks": {"min_area": 0.01},
    "paint": {"systems": {"cutpaste": 1.0}, "close_up_cells": 0},
    "adapt": {"kind": "none", "feather": 2},
    # Everything that can be seen is released, so that what follows has the most to carry.
    "score": {"classifier": "none"},
    "select": {"min_nearest_lpips": 0.0},
}


@dataclass(frozen=True)
class Place:
    """The run of one size; `samples` is of all categories."""

    folder: Path
    samples: int

    @property
    def photographs(self) -> Path:
        return self.folder / "photographs"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def base(self) -> Path:
        return self.folder / str(self.samples)

    @property
    def workspace(self) -> Path:
        return self.base / "workspace"

    @property
    def params(self) -> Path:
        return self.workspace / "params.yaml"

    @property
    def root(self) -> Path:
        return self.workspace / "data"

    @property
    def prefect_home(self) -> Path:
        return self.base / "prefect"

    def figures(self) -> dict[str, Figures]:
        """By station; empty where none has been measured."""
        path = self.base / "figures.json"
        found: dict[str, Figures] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found

    def keep(self, station: str, figures: Figures) -> None:
        path = self.base / "figures.json"
        path.write_text(json.dumps(self.figures() | {station: figures}, indent=1) + "\n", encoding="utf-8")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def params_text(sources: list[dict[str, Any]], photographs: Path, samples: int) -> str:
    """params.yaml of a run; `photographs` is relative to the file's folder."""
    dataset = {
        "name": "scale",
        "image_size": 64,
        "samples_per_category": samples // len(sources),
        "shard_size": SHARD_SIZE,
        "seed": 36,
        "threads": 1,
    }
    placed = [source | {"root": f"{photographs}/{source['root']}"} for source in sources]
    return yaml.safe_dump({"dataset": dataset, "inputs": {"sources": placed}, **_PARAMS}, sort_keys=False)
