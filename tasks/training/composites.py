"""Training images for a mask-conditioned denoiser, made from few real defects (AdaBLDM, section on training data).

A real defect is cut out by its mask, moved, turned, scaled and pasted on a clean image of its category, so that a
handful of defects gives thousands of examples; real defective images serve as they are, too, flipped. Clean
images with a mask and the clean label teach what the same place looks like without a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from skimage import transform

from tasks.contracts import CLEAN, Image, InputImage, Mask
from tasks.masks.draw import move_reference
from tasks.masks.habit import lie_of
from tasks.params import MasksParams
from tasks.training.closeup import feather_weights, magnify_image, magnify_mask, window_for

_CLEAN_SHARE = 0.35
_TRIES = 8
_RING = 10
_FEATHER = 2
_GAIN = (0.6, 1.5)
"""How far the exposure of a pasted defect may be changed to fit its new surroundings."""


@dataclass(frozen=True)
class TrainingImage:
    image: Image
    mask: Mask
    """The defect; in an image of the clean label a place that could hold one."""
    foreground: Mask
    category: str
    defect_type: str
    group: str = ""
    """Of the physical object, for a photograph."""


MaskMaker = Callable[[InputImage, int], Mask]
"""(clean image, seed) -> a mask inside its foreground."""


def flipped(item: TrainingImage, generator: Generator) -> TrainingImage:
    """The same with random mirror images; a part's pose is otherwise kept."""
    axes = tuple(axis for axis in (0, 1) if generator.uniform() < 0.5)
    image, mask, foreground = (np.flip(item.image, axes), np.flip(item.mask, axes), np.flip(item.foreground, axes))
    return TrainingImage(image.copy(), mask.copy(), foreground.copy(), item.category, item.defect_type)


def composite(
    defect: TrainingImage, clean: InputImage, observations: int, masks: MasksParams, generator: Generator
) -> TrainingImage | None:
    """The defect pasted on a clean image, moved as masks are; None when no place inside the foreground was found.

    `observations`: physical objects with a defect of its type.
    """
    size = len(defect.mask)
    own = lie_of(defect.mask, defect.foreground) if masks.placement == "learned" else None
    for attempt in range(_TRIES):
        lie = own if attempt < _TRIES / 2 else None
        found = move_reference(defect.mask, clean.foreground, lie, observations, masks, generator)
        if found is None:
            continue
        mask, motion = found
        moved = transform.warp(
            defect.image.astype(np.float32), np.linalg.inv(motion), order=1, mode="edge", preserve_range=True
        )
        ring = ndimage.binary_dilation(mask, iterations=max(1, _RING * size // 256)) & ~mask
        # Medians: a ring often crosses darker structure that the two photographs do not share.
        gain = np.clip((np.median(clean.image[ring]) + 1) / (np.median(moved[ring]) + 1), *_GAIN)
        weight = feather_weights(mask, _FEATHER)[..., None]
        image = weight * np.clip(moved * gain, 0, 255) + (1 - weight) * clean.image
        return TrainingImage(
            np.rint(image).astype(np.uint8), mask, clean.foreground, defect.category, defect.defect_type
        )
    return None


def training_images(
    cleans: Sequence[InputImage],
    defects: Sequence[TrainingImage],
    count: int,
    composite_share: float,
    close_up_cells: int,
    masks: MasksParams,
    make_mask: MaskMaker,
    generator: Generator,
) -> list[TrainingImage]:
    """`count` images of one category: about a third clean, the defect types in equal parts."""
    images: list[TrainingImage] = []
    types = sorted({defect.defect_type for defect in defects})
    by_type = {name: [defect for defect in defects if defect.defect_type == name] for name in types}
    observations = {name: len({each.group or str(n) for n, each in enumerate(by_type[name])}) for name in types}
    while len(images) < count:
        clean = cleans[int(generator.integers(len(cleans)))]
        if not types or generator.uniform() < _CLEAN_SHARE:
            mask = make_mask(clean, int(generator.integers(2**62)))
            made: TrainingImage | None = TrainingImage(clean.image, mask, clean.foreground, clean.category, CLEAN)
        else:
            group = by_type[types[len(images) % len(types)]]
            made = group[int(generator.integers(len(group)))]
            if generator.uniform() < composite_share:
                made = composite(made, clean, observations[made.defect_type], masks, generator)
        if made is not None:
            images.append(flipped(magnified(made, close_up_cells), generator))
    return images


def magnified(item: TrainingImage, close_up_cells: int) -> TrainingImage:
    """A small defect in the view in which it will be painted (`tasks.training.closeup`); others as they are."""
    window = window_for(item.mask, close_up_cells)
    if window is None:
        return item
    image, mask = magnify_image(item.image, window), magnify_mask(item.mask, window)
    return TrainingImage(image, mask, magnify_mask(item.foreground, window), item.category, item.defect_type)
