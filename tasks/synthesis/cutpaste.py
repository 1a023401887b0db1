"""CutPaste: a part of the clean image itself, at a place where it does not belong (Li et al., CVPR 2021).

In: clean images with masks; nothing is trained. Out: inside each mask the pixels of the same image at an offset, their
colours jittered; outside it the clean image. Patches and scars are the mask source `boxes`; any other shape will do.
The paper takes any other place; here it is one on the object where the surface differs, as far as there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import functional

from tasks.contracts import Image, Mask, Place
from tasks.inputs.dataset import Inputs
from tasks.masks.place import bounding_box
from tasks.params import Params
from tasks.params.systems import CutPasteParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.pixels import Levels, laid_over, paint_each
from tasks.synthesis.protocol import Painted

_OFFSETS = 24
"""Places that are tried."""
_ON_OBJECT = 0.98
"""Of the patch, what must come from the object."""
_PROBES = 1000
"""Pixels of the mask at which the places are compared."""


@dataclass(frozen=True)
class Model:
    """All that CutPaste needs is in the place."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """There is nothing to fit."""


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    return Model()


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Images (n, 3, height, width) in [-1, 1]; the strength is the patch's share against the surface below it."""
    own = params.of(CutPasteParams)
    return paint_each(places, lambda place: _cut_and_paste(place, own))


def _cut_and_paste(place: Place, params: CutPasteParams) -> Levels:
    generator = numpy_generator(derive(place.spec.seed, "paint"))
    image, mask = place.clean.image, place.mask
    picture = image.copy()
    if mask.any():
        patch = patch_from_elsewhere(image, mask, place.clean.foreground, params.min_change, generator)
        picture[mask] = jittered(patch, params.jitter, generator)
    return laid_over(image, picture, mask, place.spec.strength)


def patch_from_elsewhere(
    image: Image, mask: Mask, foreground: Mask, min_change: float, generator: np.random.Generator
) -> Image:
    """The image's pixels below the mask moved to another place, (pixels of the mask, 3).

    The first of some random places that is on the object and differs by `min_change` grey levels on average; where
    none does, the one that differs most among those that lie on the object best.
    """
    rows, columns = np.nonzero(mask)
    down, right = _random_offsets(mask, generator)
    some = slice(None, None, len(rows) // _PROBES + 1)
    source = rows[some] + down[:, None], columns[some] + right[:, None]
    change = np.abs(image[source].astype(np.int16) - image[mask][some]).mean(axis=(1, 2))
    on_object = np.minimum(foreground[source].mean(axis=1), _ON_OBJECT)
    good = (on_object >= _ON_OBJECT) & (change >= min_change)
    best = np.argmax(good) if good.any() else np.lexsort((change, on_object))[-1]
    patch: Image = image[rows + down[best], columns + right[best]]
    return patch


def _random_offsets(mask: Mask, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By how much the mask may be moved, down and to the right, within the image."""
    top, left, height, width = bounding_box(mask)
    down = generator.integers(0, mask.shape[0] - height, _OFFSETS, endpoint=True) - top
    right = generator.integers(0, mask.shape[1] - width, _OFFSETS, endpoint=True) - left
    return down, right


def jittered(pixels: Image, jitter: float, generator: np.random.Generator) -> Image:
    """(pixels, 3) with brightness, contrast, saturation and hue changed as torchvision's ColorJitter would, drawn by
    `generator`: factors of 1 - jitter to 1 + jitter, and a hue turned by up to the share `jitter` of the circle."""
    brightness, contrast, saturation = (float(factor) for factor in generator.uniform(1 - jitter, 1 + jitter, 3))
    colours = torch.from_numpy(pixels.copy()).T.unsqueeze(-1)
    colours = functional.adjust_brightness(colours, brightness)
    colours = functional.adjust_contrast(colours, contrast)
    colours = functional.adjust_saturation(colours, saturation)
    colours = functional.adjust_hue(colours, float(generator.uniform(-jitter, jitter)))
    changed: Image = colours.squeeze(-1).T.numpy()
    return changed
