"""The line that is killed: real cells at 64 px, a codec and a denoiser trained for a few steps, two systems.

In: an empty folder. Out: photographs and params in it, then whatever a run of the whole line leaves below `data`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import PIL.Image
import yaml

import tasks.synthesis.adabldm
import tasks.synthesis.cutpaste  # noqa: F401 (so that no attempt has to)
from flows.factory import factory

SIZE, CLEAN, DEFECTS = 64, 6, 3
CATEGORIES = ("mono", "poly")
PARAMS = {
    "dataset": {"name": "cells", "image_size": SIZE, "samples_per_category": 4, "shard_size": 2, "threads": 1},
    "inputs": {
        "sources": [
            {
                "kind": "folder",
                "root": category,
                "category": category,
                "license": "CC-BY-NC-SA-4.0",
                "clean": ["good/*.png"],
                "defects": {"scratch": ["scratch/*.png"]},
            }
            for category in CATEGORIES
        ]
    },
    "masks": {"sources": {"strokes": 1.0}},
    "codec": {"fine_tune_steps": 1, "batch_size": 2, "crop": 32},
    "denoiser": {"channels": [32, 64], "steps": 4, "checkpoint_every": 2, "batch_size": 2, "pool_size": 4},
    "adabldm": {"steps": 2},
    "paint": {"systems": {"adabldm": 0.5, "cutpaste": 0.5}, "batch_size": 2, "close_up_cells": 0},
    "adapt": {"kind": "none"},
    "score": {"classifier": "none"},
    "select": {
        "max_seam_contrast": 1000.0,
        "min_nearest_lpips": 0.0,
        "min_change_inside": 0.0,
        "min_lpips_inside": 0.0,
        "min_effective_share": 0.0,
    },
}


def lay_out(folder: Path) -> None:
    """Write photographs and params: clean cells, and others with a dark scratch of which no mask is told."""
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None
    assert spec.origin is not None
    cells = iter(sorted((Path(spec.origin).parent / "data" / "images").glob("*.png")))
    for category in CATEGORIES:
        for kind, count in (("good", CLEAN), ("scratch", DEFECTS)):
            (folder / category / kind).mkdir(parents=True)
            for number in range(count):
                _photograph(next(cells), kind != "good").save(folder / category / kind / f"{number}.png")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")


RUN = "benchmarks.kill_line:run"


def run(folder: Path) -> None:
    """The whole line, as `defectory run` has it."""
    factory(folder / "params.yaml", folder / "data")


def _photograph(cell: Path, scratched: bool) -> PIL.Image.Image:
    with PIL.Image.open(cell) as picture:
        levels = np.asarray(picture.convert("RGB").resize((SIZE, SIZE))).copy()
    if scratched:
        levels[30:33, 16:48] = 10
    return PIL.Image.fromarray(levels)
