"""What each arm's detector sees: test photographs down the side, their masks and each arm's map across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from tasks.contracts import Image
from tasks.detectors.protocol import Example, Scored
from tasks.release.picture_grid import TILE, GridRow, draw_grid
from tasks.seeds import choose

_WHITE_FROM = 0.999
"""Quantile of an arm's scores on normal photographs that is drawn as half bright: what is brighter stands out."""


def draw_maps(title: str, examples: Sequence[Example], arms: Mapping[str, Scored], rows: int) -> PIL.Image.Image:
    """`arms` are scores of all `examples`; defective photographs are chosen by hash, and one normal one is added."""
    places = {example.example_id: place for place, example in enumerate(examples)}
    defective = choose((example.example_id for example in examples if example.defective), rows - 1)
    normal = choose((example.example_id for example in examples if not example.defective), 1)
    maps = {name: _brightness(scored, examples) for name, scored in arms.items()}
    drawn = [
        GridRow(name, [*_seen(examples[places[name]]), *(_tile(_grey(each[places[name]])) for each in maps.values())])
        for name in (*defective, *normal)
    ]
    return draw_grid(title, ["photograph", "mask", *arms], drawn)


def _brightness(scored: Scored, examples: Sequence[Example]) -> NDArray[np.float32]:
    """Maps in [0, 1] on the scale of the arm's own scores on normal photographs."""
    normal = scored.maps[[not example.defective for example in examples]]
    normal = normal if len(normal) else scored.maps
    low, high = np.quantile(normal, [0.5, _WHITE_FROM])
    return np.clip((scored.maps - low) / max(2 * (high - low), 1e-6), 0, 1)


def _seen(example: Example) -> tuple[PIL.Image.Image, PIL.Image.Image]:
    outlined = example.image.copy()
    if example.mask is not None:
        outlined[find_boundaries(example.mask, mode="outer")] = (255, 0, 0)
    return _tile(example.image), _tile(outlined)


def _grey(brightness: NDArray[np.float32]) -> Image:
    return np.repeat(np.rint(255 * brightness).astype(np.uint8)[..., None], 3, axis=2)


def _tile(image: Image) -> PIL.Image.Image:
    return PIL.Image.fromarray(image).resize((TILE, TILE), PIL.Image.Resampling.LANCZOS)
