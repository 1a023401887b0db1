"""The systems of one dataset together: fitted one after another, each painting the samples planned for it.

In: params, whose `paint.systems` name them. Out: models on disk, and images that equal their clean twins beyond mask
and feather. What all systems have in common around painting is here, once: the magnified view of small defects, the
adaptation of the decoder, the real patches, and the paste.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.contracts import Image, Place
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import mask_tensor, to_images, to_tensor
from tasks.generation.adaptation import adapt_decoder
from tasks.generation.real_patches import PatchLibraries, PatchLibrary, library_of, restore
from tasks.inputs.dataset import Inputs
from tasks.params import AdaptParams, Params
from tasks.synthesis import system_named, used_systems
from tasks.synthesis.fitted import fitted_sha256
from tasks.synthesis.protocol import Painted, System
from tasks.training.closeup import Window, paste, put_back, view_of, window_for


@dataclass(frozen=True)
class PaintedViews:
    """What one system made of its places, and the windows through which it saw them."""

    numbers: tuple[int, ...]
    """Of the places, among all that were asked for."""
    views: tuple[Place, ...]
    windows: tuple[Window | None, ...]
    painted: Painted

    def prompts(self) -> Iterator[tuple[int, str]]:
        """By the number of its place, what the system was told of each."""
        return zip(self.numbers, self.painted.prompts or [""] * len(self.numbers), strict=True)


class Portfolio:
    """The fitted systems of a dataset. `sha256` is of everything in them that touches a sample's bytes."""

    def __init__(self, inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> None:
        self.params = params
        self.sha256 = fitted_sha256(params, inputs, workdir)
        self._libraries = PatchLibraries(inputs, workdir, params.dataset.seed)
        self._members: dict[str, tuple[System, Any]] = {}
        for name in used_systems(params):
            system = system_named(name)
            self._members[name] = system, system.load(inputs, params, workdir, device)

    def paint(self, places: Sequence[Place]) -> list[PaintedViews]:
        """Every place by its own system, small defects in a magnified view."""
        return [self._paint_by(name, places) for name in sorted({place.spec.system for place in places})]

    def _paint_by(self, name: str, places: Sequence[Place]) -> PaintedViews:
        system, model = self._members[name]
        numbers = tuple(number for number, place in enumerate(places) if place.spec.system == name)
        windows = tuple(window_for(places[number].mask, self.params.paint.close_up_cells) for number in numbers)
        views = tuple(
            view_of(places[number], window) if window else places[number]
            for number, window in zip(numbers, windows, strict=True)
        )
        return PaintedViews(numbers, views, windows, system.paint(model, views, self.params))

    def finish(self, places: Sequence[Place], parts: Sequence[PaintedViews]) -> list[Image]:
        """One image a place: decoded with adaptation, pasted, and put back where the view was magnified."""
        results: dict[int, Image] = {}
        feather = self.params.adapt.feather
        for part in parts:
            decoded = self._with_real_patches(part, decode(part.painted, part.views, self.params.adapt))
            images = paste_all(decoded, part.views, feather)
            for number, window, image in zip(part.numbers, part.windows, images, strict=True):
                results[number] = put_back(image, places[number], window, feather) if window else image
        return [results[number] for number in range(len(places))]

    def _with_real_patches(self, part: PaintedViews, decoded: Tensor) -> Tensor:
        """What a codec decoded, drawn with real patches where there are some."""
        codec, adapt = part.painted.codec, self.params.adapt
        if codec is None or not adapt.real_patches:
            return decoded
        images = list(decoded)
        for number, view in enumerate(part.views):
            library = self._library(part, number, codec)
            if library is not None:
                images[number] = restore(images[number], view.mask, library, adapt.feather)
        return torch.stack(images)

    def _library(self, part: PaintedViews, number: int, codec: Codec) -> PatchLibrary | None:
        """Of what the sample started from, or of its type. The type's are not magnified, and so fit no such view."""
        view, exemplars = part.views[number], part.painted.exemplars
        if exemplars is not None:
            return library_of(codec, exemplars[number], view.mask, self.params.adapt.feather)
        if part.windows[number]:
            return None
        return self._libraries.of(codec, view.spec.category, view.spec.defect_type)


def decode(painted: Painted, places: Sequence[Place], params: AdaptParams) -> Tensor:
    """Images (n, 3, height, width) in about [-1, 1]; what is latent is decoded with adaptation."""
    if painted.images is not None:
        return painted.images
    assert painted.latents is not None
    assert painted.codec is not None
    device = painted.latents.device
    originals = to_tensor([place.clean.image for place in places], device)
    masks = mask_tensor([place.mask for place in places], device)
    return adapt_decoder(painted.codec, painted.latents, originals, masks, params)


def paste_all(images: Tensor, places: Sequence[Place], feather: int) -> list[Image]:
    """Each image into its place's clean one."""
    return [
        paste(as_coloured(image, place.clean.image), place.clean.image, place.mask, feather)
        for image, place in zip(to_images(images), places, strict=True)
    ]


def as_coloured(image: Image, clean: Image) -> Image:
    """The image, without colour where the clean one has none: a camera for grey levels photographs no blue defect."""
    if (clean != clean[..., :1]).any():
        return image
    grey = np.rint(image.mean(axis=2, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)
