"""The picture of a run: the same places, painted by every system that has been measured so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.systems.sheet import draw_systems
from tasks.contracts import Image, Place
from tasks.files.atomic import write_atomic
from tasks.release.sheets import encode_sheet
from tasks.seeds import choose

_ROWS = 8


class Sheet:
    """A page that is written anew with every system. Its places are the first system's, chosen by their names."""

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._places: list[Place] = []
        self._columns: dict[str, list[Image]] = {}

    def add(self, system: str, places: Sequence[Place], images: Sequence[Image]) -> None:
        made = {place.spec.sample_id: (place, image) for place, image in zip(places, images, strict=True)}
        if not self._places:
            self._places = [made[name][0] for name in choose(made, _ROWS)]
        if all(place.spec.sample_id in made for place in self._places):
            self._columns[system] = [made[place.spec.sample_id][1] for place in self._places]
            self._draw()

    def _draw(self) -> None:
        captions = [f"{place.spec.sample_id}  {place.spec.defect_type}" for place in self._places]
        samples = [(text, place.clean.image, place.mask) for text, place in zip(captions, self._places, strict=True)]
        write_atomic(self._path, encode_sheet(draw_systems(self._title, samples, self._columns)))
