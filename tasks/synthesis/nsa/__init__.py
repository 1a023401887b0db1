"""NSA: a part of another normal image, blended in without a seam (Schlueter et al., "Natural Synthetic Anomalies for
Self-Supervised Anomaly Detection and Localization", ECCV 2022).

In: the train split's clean images; nothing is trained. Out: inside each mask the solution f of Poisson's equation
div grad f = div v with f = I on the mask's border (Pérez et al., "Poisson Image Editing", SIGGRAPH 2003). The guidance
v is grad P of a patch P, resized and taken from another place of another normal image (`normal`), or at each edge the
steeper one of grad P and grad I (`mixed`). The strength s gives v_s = grad I + s (v - grad I), whose solution is
I + s (f - I), for the equation is linear. A patch that changes too little is drawn again, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.random import Generator
from scipy import ndimage

from tasks.contracts import TRAIN, Image, InputImage, Mask, Place
from tasks.inputs.dataset import Inputs
from tasks.masks.place import bounding_box
from tasks.params import Params
from tasks.params.systems import NsaParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.nsa.poisson import PoissonEquation
from tasks.synthesis.pixels import Levels, laid_over, mean_change, paint_each
from tasks.synthesis.protocol import Painted

_TRIES = 8
_WHOLE = 0.97
"""Of the image: an object that covers as much is a texture."""
_OVERLAP = 0.25
"""Of the patch, what must come from the object."""
_PLACES = 12
_RESIZE, _RESIZE_LIMITS = (1.0, 0.5), (0.7, 1.3)
"""Mean and standard deviation of the factor by which a patch is resized, and its limits."""


@dataclass(frozen=True)
class Model:
    normals: Mapping[str, Sequence[InputImage]]
    """Of the train split, by category."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """There is nothing to fit."""


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    return Model({category: inputs.clean(category, TRAIN) for category in inputs.categories})


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Images (n, 3, height, width) in [-1, 1]."""
    own = params.of(NsaParams)
    return paint_each(places, lambda place: _blend_in(model.normals[place.spec.category], place, own))


def _blend_in(normals: Sequence[InputImage], place: Place, params: NsaParams) -> Levels:
    """The first of some patches that changes the mask by `min_change` grey levels; else that which changes it most."""
    image, mask = place.clean.image, place.mask
    best, most = image.astype(np.float32), 0.0
    if not mask.any():
        return best
    generator = numpy_generator(derive(place.spec.seed, "paint"))
    others = [normal for normal in normals if normal.image_id != place.clean.image_id] or list(normals)
    poisson = PoissonEquation(mask)
    for _ in range(_TRIES):
        other = others[int(generator.integers(len(others)))]
        patch = patch_below(mask, other.image, other.foreground, generator)
        blended = poisson.solve(image, patch, mixed=_is_mixed(params, place.clean.foreground))
        change = mean_change(blended.clip(0, 255), image, mask)
        if change > most:
            best, most = blended, change
        if most >= params.min_change:
            break
    return laid_over(image, best, mask, place.spec.strength)


def _is_mixed(params: NsaParams, foreground: Mask) -> bool:
    """Whether gradients are mixed: as the params say, or where the object fills the image, as textures do."""
    return params.clone == "mixed" or (params.clone == "auto" and bool(foreground.mean() >= _WHOLE))


def patch_below(mask: Mask, normal: Image, foreground: Mask, generator: Generator) -> Levels:
    """A part of `normal`, resized to the mask's bounding box and a pixel around it, in a picture of the image's shape.

    Its place is random, with enough of `foreground` in it where there is such a place.
    """
    top, left, height, width = bounding_box(ndimage.binary_dilation(mask))
    factor = float(np.clip(generator.normal(*_RESIZE), *_RESIZE_LIMITS))
    tall, wide = (
        min(max(round(side / factor), 1), limit) for side, limit in zip((height, width), mask.shape, strict=True)
    )
    row, column = _source_corner(foreground, tall, wide, generator)
    part = PIL.Image.fromarray(np.ascontiguousarray(normal[row : row + tall, column : column + wide]))
    resized = np.asarray(part.resize((width, height), PIL.Image.Resampling.BICUBIC), dtype=np.float32)
    bottom, right = mask.shape[0] - top - height, mask.shape[1] - left - width
    return np.pad(resized, ((top, bottom), (left, right), (0, 0)), mode="edge")


def _source_corner(foreground: Mask, tall: int, wide: int, generator: Generator) -> tuple[int, int]:
    rows = generator.integers(0, foreground.shape[0] - tall, _PLACES, endpoint=True)
    columns = generator.integers(0, foreground.shape[1] - wide, _PLACES, endpoint=True)
    shares = np.array([foreground[r : r + tall, c : c + wide].mean() for r, c in zip(rows, columns, strict=True)])
    chosen = int(np.argmax(np.minimum(shares, _OVERLAP)))
    return int(rows[chosen]), int(columns[chosen])
