"""DRAEM: a foreign texture, half transparent (Zavrtanik et al., ICCV 2021).

In: clean images with masks (the paper's are the mask source `perlin`) and a pool of textures A. Out, with the paper's
equation 1 and the strength 1 - beta:  I_a = (1 - M) I + (1 - beta) M A + beta M I.  Three of ten random changes are
made to each texture, as in the paper (section 3.3, after RandAugment). On a grey photograph the texture is grey, too:
colour alone would give it away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.random import Generator
from PIL import ImageEnhance, ImageOps

from tasks.contracts import Image, Place
from tasks.files.pictures import decode_image
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.params.systems import DraemParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.draem.textures import fit_textures, load_textures
from tasks.synthesis.pixels import Levels, laid_over, paint_each
from tasks.synthesis.protocol import Painted

CHANGES = 3
"""Of the ten below, for each texture."""
_LEAST_PART = 0.5
"""Of a texture's side, the smallest part that is magnified to the whole."""

_Picture = PIL.Image.Image


@dataclass(frozen=True)
class Model:
    textures: tuple[bytes, ...]
    """Encoded square pictures."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Collect the textures. Raises DefectoryError for a folder without a picture."""
    fit_textures(params.of(DraemParams).textures, params.dataset.image_size, params.inputs.max_pixels, workdir, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    return Model(load_textures(workdir))


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Images (n, 3, height, width) in [-1, 1]."""
    return paint_each(places, lambda place: _overlay(model.textures, place))


def _overlay(textures: Sequence[bytes], place: Place) -> Levels:
    generator = numpy_generator(derive(place.spec.seed, "paint"))
    chosen = decode_image(textures[int(generator.integers(len(textures)))])
    texture = changed(random_part(chosen, len(place.mask), generator), generator)
    image = place.clean.image
    if (image == image[..., :1]).all():
        texture = np.asarray(PIL.Image.fromarray(texture).convert("L").convert("RGB"))
    return laid_over(image, texture, place.mask, place.spec.strength)


def random_part(texture: Image, size: int, generator: Generator) -> Image:
    """A random square part of a square texture, mirrored at random, as (size, size, 3)."""
    side = max(1, round(len(texture) * generator.uniform(_LEAST_PART, 1)))
    top, left = generator.integers(0, len(texture) - side, 2, endpoint=True)
    axes = tuple(axis for axis in (0, 1) if generator.uniform() < 0.5)
    part = np.flip(texture[top : top + side, left : left + side], axes)
    picture = PIL.Image.fromarray(np.ascontiguousarray(part))
    return np.asarray(picture.resize((size, size), PIL.Image.Resampling.BICUBIC))


def changed(texture: Image, generator: Generator) -> Image:
    """Three different ones of the ten changes, one after another."""
    picture = PIL.Image.fromarray(texture)
    for number in generator.choice(len(_CHANGES), CHANGES, replace=False):
        picture = _CHANGES[number](picture, generator)
    return np.asarray(picture)


def _gamma(picture: _Picture, generator: Generator) -> _Picture:
    gamma = generator.uniform(0.5, 2.0)
    return picture.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)


def _brightness(picture: _Picture, generator: Generator) -> _Picture:
    factor, offset = generator.uniform(0.8, 1.2), generator.uniform(-30, 30)
    return picture.point([round(min(max(factor * level + offset, 0), 255)) for level in range(256)] * 3)


def _hue_and_saturation(picture: _Picture, generator: Generator) -> _Picture:
    turn, factor = generator.integers(-50, 51), generator.uniform(0.5, 1.5)
    hue, saturation, value = picture.convert("HSV").split()
    hue = hue.point([int(level + turn) % 256 for level in range(256)])
    saturation = saturation.point([min(round(level * factor), 255) for level in range(256)])
    return PIL.Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _turned(picture: _Picture, generator: Generator) -> _Picture:
    """Turned by up to 45 degrees; the corners are filled by the texture's own mirror image."""
    size = picture.width
    wide = PIL.Image.fromarray(np.pad(np.asarray(picture), ((size // 4,) * 2, (size // 4,) * 2, (0, 0)), "symmetric"))
    edge = (wide.width - size) // 2
    turned = wide.rotate(generator.uniform(-45, 45), PIL.Image.Resampling.BILINEAR)
    return turned.crop((edge, edge, edge + size, edge + size))


_CHANGES: tuple[Callable[[_Picture, Generator], _Picture], ...] = (
    _gamma,
    _brightness,
    _hue_and_saturation,
    _turned,
    lambda picture, generator: ImageEnhance.Sharpness(picture).enhance(generator.uniform(1, 4)),
    lambda picture, generator: ImageOps.solarize(picture, int(generator.integers(32, 129))),
    lambda picture, generator: ImageOps.posterize(picture, int(generator.integers(3, 7))),
    lambda picture, generator: ImageOps.invert(picture),
    lambda picture, generator: ImageOps.autocontrast(picture),
    lambda picture, generator: ImageOps.equalize(picture),
)
