"""One mask for one sample: drawn from its source and placed in its clean image's foreground.

In: a spec, its clean image, the reference masks. Out: a DrawnMask within the foreground, whose area is between
`min_area` and `max_area` of the image. A source that gives no such mask makes way for strokes, and the DrawnMask
says so. Why one place: whatever a shape comes from, the promises about it are checked here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import TRAIN, DefectoryError, DrawnMask, InputImage, Lie, Mask, ReferenceMask, SampleSpec
from tasks.inputs.dataset import Inputs
from tasks.masks.boxes import box_mask
from tasks.masks.habit import MOST, lay_like, lie_of, observations_of
from tasks.masks.perlin import perlin_mask, pick_blobs
from tasks.masks.place import bounding_box, cut_mask, place_mask
from tasks.masks.reference import turn_reference, warp_reference
from tasks.masks.strokes import stroke_mask
from tasks.params import MasksParams
from tasks.seeds import derive, numpy_generator

Matrix = NDArray[np.float64]

STROKES, PERLIN, REFERENCE, BOXES, LEARNED = "strokes", "perlin", "reference", "boxes", "learned"

CUT_SHARE = 0.35
"""Of the strokes, those that may run off the object; the others end inside it."""
_SCALE, _ROTATION = (0.85, 1.15), 180.0
"""Of reference masks, where neither params nor references say otherwise; AdaBLDM's."""
LEAST_REACH = 0.3
"""Strokes are shortened down to this over the tries, for foregrounds too narrow for a long one."""


def draw_mask(
    spec: SampleSpec, clean: InputImage, references: Sequence[ReferenceMask], params: MasksParams
) -> DrawnMask:
    """The mask of one sample. A pure function of its arguments; the randomness is the spec's seed's.

    `references` may hold any category's; those of the spec's category are used, of its defect type where there
    are any. Raises DefectoryError when neither the source nor strokes can be placed.
    """
    generator = numpy_generator(derive(spec.seed, "mask"))
    pool = _preferred(spec, [shape for shape in references if shape.learned == (spec.mask_source == LEARNED)])
    for source in dict.fromkeys([spec.mask_source, STROKES]):
        for attempt in range(params.max_tries):
            drawn = _DRAWERS[source](clean.foreground, pool, params, generator, attempt)
            if drawn is not None and _fits(drawn.mask, clean.foreground, params):
                return drawn
    raise DefectoryError(
        f"sample {spec.sample_id}: no mask of {params.min_area:.2%} to {params.max_area:.2%} of the image fits the "
        f"foreground of {clean.image_id} ({clean.foreground.mean():.2%} of the image) in {params.max_tries} tries; "
        "look at that foreground, lower masks.min_area or raise masks.max_tries"
    )


def references_of(inputs: Inputs, pseudo: Iterable[ReferenceMask]) -> tuple[ReferenceMask, ...]:
    """The masks that shapes may be taken from: the train split's real ones, then the pseudo-masks.

    A pseudo-mask's `reference_id` is the `image_id` it was made from. Raises DefectoryError for one whose image
    is not in the train split, for its shape would leak into the generator.
    """
    real = tuple(
        ReferenceMask(
            defect.image_id,
            defect.category,
            defect.defect_type,
            defect.mask,
            pseudo=False,
            lie=lie_of(defect.mask, defect.foreground, defect.group),
        )
        for category in inputs.categories
        for defect in inputs.defects(category, TRAIN)
        if defect.mask is not None and defect.mask.any()
    )
    trained = {image.image_id for image in inputs.images if image.split == TRAIN}
    made = tuple(reference for reference in pseudo if reference.mask.any())
    for reference in made:
        if reference.reference_id not in trained:
            raise DefectoryError(
                f"pseudo-mask {reference.reference_id}: its image is not in the train split; make pseudo-masks of "
                "train images only, or make them again after the inputs have changed"
            )
    return real + tuple(_lying(reference, inputs.by_id(reference.reference_id)) for reference in made)


def _lying(reference: ReferenceMask, image: InputImage) -> ReferenceMask:
    return replace(reference, lie=lie_of(reference.mask, image.foreground, image.group))


def _preferred(spec: SampleSpec, references: Sequence[ReferenceMask]) -> list[ReferenceMask]:
    """The category's references of the spec's defect type, or all of the category's where there are none."""
    category = [reference for reference in references if reference.category == spec.category]
    alike = [reference for reference in category if reference.defect_type == spec.defect_type]
    return sorted(alike or category, key=lambda reference: reference.reference_id)


def _fits(mask: Mask, foreground: Mask, params: MasksParams) -> bool:
    area = mask.mean()
    return bool(params.min_area <= area <= params.max_area and not (mask & ~foreground).any())


def _draw_perlin(
    foreground: Mask, pool: list[ReferenceMask], params: MasksParams, generator: np.random.Generator, attempt: int
) -> DrawnMask | None:
    noise = perlin_mask(foreground.shape[0], generator) & foreground
    area = foreground.size
    blobs = pick_blobs(noise, generator, params.min_area * area, params.max_area * area)
    return None if blobs is None else DrawnMask(blobs, PERLIN)


def _draw_strokes(
    foreground: Mask, pool: list[ReferenceMask], params: MasksParams, generator: np.random.Generator, attempt: int
) -> DrawnMask | None:
    reach = 1 - (1 - LEAST_REACH) * attempt / params.max_tries
    size = foreground.shape[0]
    shape = stroke_mask(size, generator, params.stroke_width, params.branch_probability, reach)
    lies = _lies(pool, params, attempt)
    if lies:
        alike = lies[int(generator.integers(len(lies)))]
        laid = lay_like(shape, foreground, alike, observations_of(lies), params, generator, sized=False)
        return None if laid is None else DrawnMask(laid[0], STROKES)
    if generator.uniform() < CUT_SHARE:
        placed = cut_mask(shape, foreground, generator)
    else:
        placed = place_mask(shape, foreground, generator, params.max_tries)
    return None if placed is None else DrawnMask(placed, STROKES)


def _draw_reference(
    foreground: Mask, pool: list[ReferenceMask], params: MasksParams, generator: np.random.Generator, attempt: int
) -> DrawnMask | None:
    if not pool:
        return None
    reference = pool[generator.integers(len(pool))]
    lies = _lies(pool, params, attempt)
    own = reference.lie if lies else None
    moved = move_reference(reference.mask, foreground, own, observations_of(lies), params, generator)
    return None if moved is None else DrawnMask(moved[0], REFERENCE, reference.reference_id, moved[1])


def _lies(pool: Sequence[ReferenceMask], params: MasksParams, attempt: int) -> list[Lie]:
    """How the references lie, where that is to be followed; on an object where it cannot be, half of the tries are
    anywhere."""
    if params.placement != "learned" or attempt >= params.max_tries / 2:
        return []
    return [reference.lie for reference in pool if reference.lie is not None]


def move_reference(
    mask: Mask,
    foreground: Mask,
    own: Lie | None,
    observations: int,
    params: MasksParams,
    generator: np.random.Generator,
) -> tuple[Mask, Matrix] | None:
    """A real defect's mask under a motion that params allow, inside the foreground, and the (3, 3) motion of its
    (column, row) points. With its `own` lie it lies about as it did, the more exactly the more `observations` there are
    of its type. None where no place was found."""
    if own is not None:
        return lay_like(mask, foreground, own, observations, params, generator, sized=True)
    scale, rotation = params.scale or _SCALE, _ROTATION if params.rotation is None else params.rotation
    if params.placement == "in_place":
        turned, motion = turn_reference(mask, foreground, generator, scale, rotation)
        kept = turned & foreground
        return (kept, motion) if kept.sum() > MOST * turned.sum() else None
    shape, motion = warp_reference(mask, generator, scale, rotation)
    placed = place_mask(shape, foreground, generator, params.max_tries)
    if placed is None:
        return None
    top, left, _, _ = bounding_box(placed)
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    return placed, shift @ motion


def _draw_learned(
    foreground: Mask, pool: list[ReferenceMask], params: MasksParams, generator: np.random.Generator, attempt: int
) -> DrawnMask | None:
    """A generator's mask as it is: it has learned turn and size with the shape."""
    if not pool:
        return None
    reference = pool[generator.integers(len(pool))]
    placed = place_mask(reference.mask, foreground, generator, params.max_tries)
    return None if placed is None else DrawnMask(placed, LEARNED, reference.reference_id)


def _draw_boxes(
    foreground: Mask, pool: list[ReferenceMask], params: MasksParams, generator: np.random.Generator, attempt: int
) -> DrawnMask | None:
    reach = 1 - attempt / params.max_tries
    shape = box_mask(foreground.shape[0], generator, params.min_area, params.max_area, reach)
    placed = place_mask(shape, foreground, generator, params.max_tries)
    return None if placed is None else DrawnMask(placed, BOXES)


_Drawer = Callable[
    [Mask, list[ReferenceMask], MasksParams, np.random.Generator, int],
    DrawnMask | None,
]
_DRAWERS: dict[str, _Drawer] = {
    PERLIN: _draw_perlin,
    STROKES: _draw_strokes,
    REFERENCE: _draw_reference,
    BOXES: _draw_boxes,
    LEARNED: _draw_learned,
}
