"""Crop&Paste: a real defect on another part (Lin et al., "Few-Shot Defect Segmentation Leveraging Abundant Normal
Training Samples Through Normal Background Regularization and Crop-and-Paste Operation", ICME 2021).

In: the train split's defects with masks or pseudo-masks; nothing else is learned. Out: inside each mask the pixels of a
real defect. Where the mask is a real defect's own, moved, turned and scaled, its pixels make the same motion; any other
shape is filled with a defect of the wanted type, brought from the defect's bounding box to the shape's. Exposures
differ between photographs, so one factor fits the paste to its new surroundings: the defect then stands out from the
surface by the same ratio as it really did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import warp

from tasks.contracts import DefectoryError, Image, InputImage, Mask, Place, ReferenceMask
from tasks.files.names import PSEUDO_MASKS
from tasks.inputs.dataset import Inputs
from tasks.masks import pseudo_store
from tasks.masks.draw import references_of
from tasks.masks.place import bounding_box
from tasks.masks.pseudo_store import read_references
from tasks.params import Params
from tasks.params.systems import CropPasteParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.pixels import Levels, laid_over, paint_each, ring_around
from tasks.synthesis.protocol import Painted

Matrix = NDArray[np.float64]

_LOCAL = 1.4
"""By which factor the surface around a defect may differ from its whole object; beyond it, other things lie there."""
_MIRRORS = 3
"""Reflections at a defect's outline by which its inside is extended."""


@dataclass(frozen=True)
class Cut:
    """A real defect, ready to be brought elsewhere."""

    defect_type: str
    image: Image
    mask: Mask
    surface: float
    """The grey level of the object around the defect."""


@dataclass(frozen=True)
class Model:
    cuts: Mapping[str, Mapping[str, Cut]]
    """By category and image id."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Make pseudo-masks where labels are per image."""
    pseudo_store.fit_pseudo_masks(inputs, params, workdir, report)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> Model:
    """Raises DefectoryError for a category without a defect whose place is known."""
    cuts: dict[str, dict[str, Cut]] = {category: {} for category in inputs.categories}
    for reference in references_of(inputs, read_references(workdir / PSEUDO_MASKS)):
        image = inputs.by_id(reference.reference_id)
        cuts[reference.category][reference.reference_id] = _cut(image, reference)
    for category, found in cuts.items():
        if not found:
            raise DefectoryError(
                f"crop_paste: none of the defects of category {category} has a mask, and no pseudo-mask was found; "
                "look at its defects and at masks.pseudo_quantile, or give crop_paste no share"
            )
    return Model(cuts)


def _cut(image: InputImage, reference: ReferenceMask) -> Cut:
    return Cut(
        reference.defect_type, image.image, reference.mask, _surface(image.image, reference.mask, image.foreground)
    )


def paint(model: Model, places: Sequence[Place], params: Params) -> Painted:
    """Images (n, 3, height, width) in [-1, 1]; the strength is the defect's share against the surface below it."""
    keep = params.of(CropPasteParams).exposure == "keep"
    return paint_each(places, lambda place: _crop_and_paste(model.cuts[place.spec.category], place, keep))


def _crop_and_paste(cuts: Mapping[str, Cut], place: Place, keep_exposure: bool) -> Levels:
    image, mask = place.clean.image, place.mask
    if not mask.any():
        return image.astype(np.float32)
    cut, picture = _brought(cuts, place)
    gain = 1.0
    if not keep_exposure:
        surface = _surface(image, mask, place.clean.foreground)
        gain = (surface + 1) / (cut.surface + 1)
    return laid_over(image, picture * np.float32(gain), mask, place.spec.strength)


def _brought(cuts: Mapping[str, Cut], place: Place) -> tuple[Cut, Levels]:
    """The defect that is pasted, and its photograph moved so that the defect lies in the mask."""
    shape = place.mask.shape
    if place.drawn.motion is not None and place.drawn.reference_id in cuts:
        cut = cuts[place.drawn.reference_id]
        return cut, under_motion(cut.image, place.drawn.motion, shape)
    cut = _chosen(cuts, place)
    return cut, under_motion(extended(cut.image, cut.mask), box_to_box(cut.mask, place.mask), shape)


def _chosen(cuts: Mapping[str, Cut], place: Place) -> Cut:
    """A defect of the wanted type, or of any where there is none."""
    alike = [name for name in sorted(cuts) if cuts[name].defect_type == place.spec.defect_type] or sorted(cuts)
    generator = numpy_generator(derive(place.spec.seed, "crop"))
    return cuts[alike[int(generator.integers(len(alike)))]]


def under_motion(image: Image, motion: Matrix, shape: tuple[int, ...]) -> Levels:
    """The image under a (3, 3) motion of its (column, row) points, (height, width, 3) in grey levels; its border's
    pixels go on beyond it."""
    levels: Levels = warp(
        image.astype(np.float32), np.linalg.inv(motion), output_shape=shape, order=1, mode="edge", preserve_range=True
    )
    return levels


def box_to_box(source: Mask, target: Mask) -> Matrix:
    """The motion that stretches the bounding box of `source` to that of `target`, turned by a right angle where one
    lies and the other stands."""
    top, left, height, width = bounding_box(source)
    low, beside, tall, wide = bounding_box(target)
    to_unit = np.array([[1 / width, 0, -(left - 0.5) / width], [0, 1 / height, -(top - 0.5) / height], [0, 0, 1]])
    turn = np.eye(3)
    if (width > height) != (wide > tall):
        turn = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    to_target = np.array([[wide, 0, beside - 0.5], [0, tall, low - 0.5], [0, 0, 1]])
    motion: Matrix = to_target @ turn @ to_unit
    return motion


def extended(image: Image, mask: Mask) -> Image:
    """The image with everything outside the mask replaced by the inside, mirrored at the mask's outline."""
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    border = np.array(mask.shape)[:, None, None] - 1
    source = np.indices(mask.shape)
    for _ in range(_MIRRORS):
        outline = nearest[:, source[0], source[1]]
        source = np.clip(np.where(mask[tuple(source)], source, 2 * outline - source), 0, border)
    source = nearest[:, source[0], source[1]]
    filled: Image = image[tuple(source)]
    return filled


def _surface(image: Image, mask: Mask, foreground: Mask) -> float:
    """The median grey level next to the mask, held near to that of the whole object."""
    whole, ring = foreground & ~mask, ring_around(mask) & foreground
    level = float(np.median(image[whole if whole.any() else ~mask])) if not mask.all() else float(np.median(image))
    around = float(np.median(image[ring])) if ring.any() else level
    return float(np.clip(around, level / _LOCAL, level * _LOCAL))
