"""Listed photographs, opened: decoded, brought to the dataset's size, hashed and measured.

In: listings. Out: an OpenedImage for each file that can be used, a SkippedInput with its reason for each that
cannot. Pixels are kept encoded: thousands of photographs then fit in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Mask, SkippedInput
from tasks.inputs.duplicates import descriptor_of
from tasks.inputs.listing import ListedImage, Listing, source_name
from tasks.inputs.normalise import UnusableInput, decode_image, decode_mask, fit_image, fit_mask
from tasks.params import Params, SourceParams
from tasks.shards.encode import encode_image


@dataclass(frozen=True)
class OpenedImage:
    """A usable photograph and what grouping, splitting and checking need to know of it."""

    listed: ListedImage
    source: SourceParams
    image: bytes
    """The photograph at the dataset's size, encoded without loss."""
    mask: Mask | None
    sha256: str
    """Of the source file's bytes."""
    pixels: int
    """Of the source photograph, before it was brought to the dataset's size."""
    mean_grey: float
    descriptor: NDArray[np.float32]

    @property
    def image_id(self) -> str:
        return self.listed.image_id


@dataclass(frozen=True)
class Opened:
    images: tuple[OpenedImage, ...]
    skipped: tuple[SkippedInput, ...]


def open_listings(listings: Sequence[Listing], params: Params, tell: Callable[[int], None]) -> Opened:
    """Open every listed photograph; `tell` hears how many are done.

    Raises DefectoryError for a source without one usable clean image.
    """
    images: dict[str, OpenedImage] = {}
    skipped = [skip for listing in listings for skip in listing.skipped]
    done = 0
    for listing in listings:
        for listed in listing.images:
            try:
                _refuse_repeated(listed, images)
                images[listed.image_id] = _open(listed, listing.source, params)
            except UnusableInput as error:
                skipped.append(SkippedInput(listed.path, source_name(listing.source), str(error)))
            done += 1
            tell(done)
        _require_clean(listing, images, skipped)
    return Opened(tuple(images.values()), tuple(skipped))


def _refuse_repeated(listed: ListedImage, images: dict[str, OpenedImage]) -> None:
    if listed.image_id in images:
        first = images[listed.image_id].source
        raise UnusableInput(f"source {source_name(first)} already has an image {listed.image_id!r}: rename one of them")


def _open(listed: ListedImage, source: SourceParams, params: Params) -> OpenedImage:
    size, limit = params.dataset.image_size, params.inputs.max_pixels
    original = decode_image(listed.file, limit)
    image = fit_image(original, size, source.fit)
    mask = None
    if listed.mask_file is not None:
        found = decode_mask(listed.mask_file, limit, source.mask_threshold, original.shape[:2])
        mask = fit_mask(found, size, source.fit)
    with listed.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pixels = original.shape[0] * original.shape[1]
    return OpenedImage(
        listed, source, encode_image(image), mask, sha256, pixels, float(image.mean()), descriptor_of(image)
    )


def _require_clean(listing: Listing, images: dict[str, OpenedImage], skipped: Sequence[SkippedInput]) -> None:
    name = source_name(listing.source)
    clean = [listed for listed in listing.images if listed.is_clean]
    # An id may be held by another source's image of the same name, so the source is compared as well.
    if any(listed.image_id in images and images[listed.image_id].listed is listed for listed in clean):
        return
    first = next((f", such as {skip.path}: {skip.reason}" for skip in skipped if skip.source == name), "")
    if clean:
        raise DefectoryError(f"source {name}: none of its {len(clean)} clean images can be used{first}")
    raise DefectoryError(f"source {name} has no clean image: correct its root or its patterns for clean images{first}")
