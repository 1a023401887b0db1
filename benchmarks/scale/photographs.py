"""36 categories of photographs for a run at full size: cuts of real images, turned, with the real defects in them.

In: the magnetic tiles, bottles and cookies below a data folder, where it is there, and always the solar cells of the
package elpv-dataset. Out: a folder a category with `good`, `defect` and `mask`, and its source for params. A category
is one of the surfaces seen through one window of a three by three grid, half the image wide, in one of two turns.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

CATEGORIES = 36
_CLEANS, _DEFECTS = 60, 6
"""Of a category, at most."""
_SIDE = 96
"""Pixels; the run brings them to its own size, as it would any photograph."""
_GRID, _WINDOW = 3, 0.5


@dataclass(frozen=True)
class Surface:
    """Images of one product."""

    name: str
    license: str
    cleans: tuple[Path, ...]
    defects: tuple[tuple[Path, Path | None], ...]
    """Each with its mask, where it has one."""


@dataclass(frozen=True)
class View:
    """What a category sees of its surface."""

    window: int
    turned: bool

    def of(self, path: Path) -> PIL.Image.Image:
        with PIL.Image.open(path) as picture:
            whole = picture.convert("RGB")
        row, column = divmod(self.window, _GRID)
        step = (1 - _WINDOW) / (_GRID - 1)
        left, top = column * step * whole.width, row * step * whole.height
        box = (left, top, left + _WINDOW * whole.width, top + _WINDOW * whole.height)
        cut = whole.resize((_SIDE, _SIDE), PIL.Image.Resampling.BILINEAR, box)
        return cut.transpose(PIL.Image.Transpose.ROTATE_90) if self.turned else cut


def write_photographs(data: Path, out: Path) -> list[dict[str, Any]]:
    """Write every category below `out`, unless it is there; returns the sources, their roots relative to `out`."""
    surfaces = [*_shared(data), *_cells()]
    sources = []
    for number in range(CATEGORIES):
        surface, view = surfaces[number % len(surfaces)], number // len(surfaces)
        name = f"{surface.name}-{view:02d}"
        if not (out / name / "done").exists():
            _write(surface, View(view % _GRID**2, view >= _GRID**2), out / name)
            (out / name / "done").touch()
        sources.append(_source(name, surface.license))
    return sources


def _source(name: str, license: str) -> dict[str, Any]:
    return {
        "kind": "folder",
        "root": name,
        "category": name,
        "license": license,
        "clean": ["good/*.png"],
        "defects": {"defect": ["defect/*.png"]},
        "masks": {"defect": "mask/{stem}.png"},
        "foreground": "whole",
    }


def _write(surface: Surface, view: View, folder: Path) -> None:
    for kind in ("good", "defect", "mask"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for path in _spread(surface.cleans, _CLEANS):
        view.of(path).save(folder / "good" / f"{path.stem}.png")
    seen = 0
    for path, mask_path in surface.defects:
        mask = None if mask_path is None else np.asarray(view.of(mask_path).convert("L")) > 64
        if seen == _DEFECTS or (mask is not None and not mask.any()):
            continue
        name = f"{path.parent.name}-{path.stem}.png"
        view.of(path).save(folder / "defect" / name)
        if mask is not None:
            PIL.Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "mask" / name)
        seen += 1


def _spread(paths: Sequence[Path], count: int) -> Sequence[Path]:
    return paths[:: -(-len(paths) // count)]


def _shared(data: Path) -> list[Surface]:
    bottle, tile, cookies = data / "mvtec" / "bottle", data / "magnetic_tile", data / "cookies"
    surfaces = [
        Surface(
            "bottle",
            "CC-BY-NC-SA-4.0",
            _files(bottle, "train/good/*"),
            _masked(_files(bottle, "test/b*/*"), lambda path: bottle / "ground_truth" / path.parent.name, "_mask.png"),
        ),
        Surface(
            "tile",
            "unstated, to be cited",
            _files(tile, "free/*.jpg"),
            _masked(_files(tile, "b*/*.jpg"), lambda path: path.parent, ".png"),
        ),
        Surface(
            "cookie",
            "CC-BY-SA-4.0",
            _files(cookies, "train/good/*"),
            _masked(_files(cookies, "train/cracked/*"), lambda path: cookies / "ground_truth" / "cracked", "_mask.png"),
        ),
    ]
    return [surface for surface in surfaces if surface.cleans]


def _masked(paths: Sequence[Path], folder_of: Any, ending: str) -> tuple[tuple[Path, Path | None], ...]:
    return tuple((path, folder_of(path) / f"{path.stem}{ending}") for path in paths)


def _files(folder: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(pattern)))


def _cells() -> list[Surface]:
    """Cells of one type each; they have labels and no masks."""
    package = importlib.util.find_spec("elpv_dataset")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "data"
    labels = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines()]
    return [
        Surface(
            kind,
            "CC-BY-NC-SA-4.0",
            tuple(folder / path for path, probability, cell in labels if cell == kind and float(probability) == 0),
            tuple(
                (folder / path, None) for path, probability, cell in labels if cell == kind and float(probability) == 1
            ),
        )
        for kind in ("mono", "poly")
    ]
