"""Which metrics a test set allows, and why not the others.

In: a test set, which may lack masks, defects or normal images. Out: the names of the metrics that mean something on it,
with a sentence for what is missing or narrowed, and the strata that a bootstrap must not mix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.detectors.protocol import Example, TestSet

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pro", "iap", "iap90")

Allowed = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of metrics, and sentences on those that are missing or narrowed."""

NORMAL, WITH_MASK, WITHOUT_MASK = 0, 1, 2
"""Strata: normal images, defective ones whose mask has a pixel, defective ones without such a mask."""


def strata(test: TestSet) -> NDArray[np.int64]:
    """The stratum of each image, (n,). Pixel metrics leave out the images of `WITHOUT_MASK`: their normal pixels are
    unknown. An empty mask of a defective image says as little as none."""
    return np.array([_stratum(example) for example in test.examples], dtype=np.int64)


def _stratum(example: Example) -> int:
    if not example.defective:
        return NORMAL
    return WITH_MASK if example.mask is not None and example.mask.any() else WITHOUT_MASK


def available(test: TestSet) -> Allowed:
    """The metrics that the test set allows, in the order of their tables, and a sentence for each limitation."""
    normals, with_mask, without_mask = (int((strata(test) == stratum).sum()) for stratum in range(3))
    if not with_mask + without_mask:
        said = f"None of the {normals} test images is defective" if normals else "The test set is empty"
        return (), (f"{said}: no metric can be computed; keep some defective photographs for testing.",)
    image_metrics, said_of_images = _image_level(normals, with_mask + without_mask)
    pixel_metrics, said_of_pixels = _pixel_level(test, normals, with_mask, without_mask)
    return image_metrics + pixel_metrics, said_of_images + said_of_pixels


def _image_level(normals: int, defective: int) -> Allowed:
    if normals:
        return IMAGE_METRICS, ()
    return (), (
        f"All {defective} test images are defective: there is nothing to tell them from, so the image metrics are "
        "missing; keep some normal photographs for testing.",
    )


def _pixel_level(test: TestSet, normals: int, with_mask: int, without_mask: int) -> Allowed:
    defective = with_mask + without_mask
    masks = [example.mask for example in test.examples if example.defective and example.mask is not None]
    empty = sum(not mask.any() for mask in masks)
    if not with_mask:
        said = "has a mask" if not empty else f"has a mask with a defect pixel ({empty} are empty)"
        return (), (f"None of the {defective} defective test images {said}: the pixel metrics are missing.",)
    if not normals and all(
        example.mask is None or example.mask.all() or not example.mask.any() for example in test.examples
    ):
        return (), ("The masks leave no normal pixel in the test images: the pixel metrics are missing.",)
    if not without_mask:
        return PIXEL_METRICS, ()
    return PIXEL_METRICS, (
        f"{without_mask} of the {defective} defective test images have no mask ({empty} of them an empty one): the "
        f"pixel metrics are over the {with_mask} that have one and the {normals} normal images.",
    )
