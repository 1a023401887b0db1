"""A tiny dataset for tests of the line: photographs of a disc on a dark table, in two categories, and its params."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image as PillowImage
from skimage.draw import disk

from tasks.seeds import numpy_generator
from tests import stand_in

SIZE = 64
CATEGORIES = ("brass", "steel")
SAMPLES, SHARD_SIZE = 4, 2
SHARDS = len(CATEGORIES) * SAMPLES // SHARD_SIZE


def write_photographs(folder: Path) -> None:
    for number, category in enumerate(CATEGORIES):
        _write_category(folder / category, number)


def write_params(folder: Path, **blocks: dict[str, Any]) -> Path:
    """The params of the photographs in `folder`; `blocks` change single values. Returns the file."""
    params: dict[str, dict[str, Any]] = {
        "dataset": {"name": "discs", "image_size": SIZE, "samples_per_category": SAMPLES, "shard_size": SHARD_SIZE},
        "inputs": {"sources": [_source(category) for category in CATEGORIES]},
        "masks": {"sources": {"strokes": 1.0}},
        "paint": {"systems": {stand_in.NAME: 1.0}, "close_up_cells": 0},
        "adapt": {"kind": "none"},
        "select": {"max_seam_contrast": 1000.0, "min_nearest_lpips": 0.0, "min_accepted_share": 0.1},
    }
    for name, values in blocks.items():
        params[name] = params.get(name, {}) | values
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    return path


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _source(category: str) -> dict[str, Any]:
    return {
        "kind": "folder",
        "root": category,
        "category": category,
        "license": "CC0-1.0",
        "clean": ["good/*.png"],
        "defects": {"scratch": ["scratch/*.png"]},
    }


def _write_category(folder: Path, seed: int) -> None:
    generator = numpy_generator(seed)
    for kind, count in (("good", 6), ("scratch", 3)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            PillowImage.fromarray(_photograph(generator, kind == "scratch")).save(folder / kind / f"{number}.png")


def _photograph(generator: np.random.Generator, scratched: bool) -> np.ndarray[Any, np.dtype[np.uint8]]:
    levels = generator.normal(20, 4, (SIZE, SIZE, 3))
    rows, columns = disk((SIZE // 2, SIZE // 2), SIZE * 0.42)
    levels[rows, columns] = generator.normal(170, 12, (len(rows), 3))
    if scratched:
        row = int(generator.integers(20, 44))
        levels[row : row + 2, 20:44] = 60
    return np.clip(levels, 0, 255).astype(np.uint8)
