"""Listed photographs, opened: decoded, brought to the dataset's size, hashed and measured.

In: listings. Out: an OpenedImage for each file that can be used, a SkippedInput with its reason for each that
cannot. Pixels are kept encoded: thousands of photographs then fit in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Mask, SkippedInput
from tasks.files.pictures import encode_image
from tasks.inputs.duplicates import descriptor_of
from tasks.inputs.listing import ListedImage, Listing, source_name
from tasks.inputs.normalise import UnusableInput, fit_image, fit_mask, read_mask, read_photograph
from tasks.params import Params, SourceParams


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
    offered = [(listing.source, listed) for listing in listings for listed in listing.images]
    owner_of = {listed.image_id: source for source, listed in reversed(offered)}
    images: list[OpenedImage] = []
    skipped = [skip for listing in listings for skip in listing.skipped]
    # Threads: decoding and encoding, which is nearly all of it, holds no interpreter lock.
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda offer: _try_open(offer[0], offer[1], owner_of[offer[1].image_id], params), offered)
        for done, result in enumerate(results, start=1):
            if isinstance(result, SkippedInput):
                skipped.append(result)
            else:
                images.append(result)
            tell(done)
    for listing in listings:
        _require_clean(listing, images, skipped)
    return Opened(tuple(images), tuple(skipped))


def _try_open(
    source: SourceParams, listed: ListedImage, owner: SourceParams, params: Params
) -> OpenedImage | SkippedInput:
    """`owner` is the first source that offers an image of this id."""
    try:
        if owner is not source:
            raise UnusableInput(f"source {source_name(owner)} already has an image {listed.image_id!r}: rename one")
        return _open(listed, source, params)
    except UnusableInput as error:
        return SkippedInput(listed.path, source_name(source), str(error))


def _open(listed: ListedImage, source: SourceParams, params: Params) -> OpenedImage:
    size, limit = params.dataset.image_size, params.inputs.max_pixels
    original = read_photograph(listed.file, limit)
    image = fit_image(original, size, source.fit)
    mask = None
    if listed.mask_file is not None:
        found = read_mask(listed.mask_file, limit, source.mask_threshold, original.shape[:2])
        mask = fit_mask(found, size, source.fit)
    with listed.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pixels = original.shape[0] * original.shape[1]
    return OpenedImage(
        listed, source, encode_image(image), mask, sha256, pixels, float(image.mean()), descriptor_of(image)
    )


def _require_clean(listing: Listing, images: Sequence[OpenedImage], skipped: Sequence[SkippedInput]) -> None:
    if any(image.source is listing.source and image.listed.is_clean for image in images):
        return
    name = source_name(listing.source)
    found = sum(listed.is_clean for listed in listing.images)
    first = next((f", such as {skip.path}: {skip.reason}" for skip in skipped if skip.source == name), "")
    if found:
        raise DefectoryError(f"source {name}: none of its {found} clean images can be used{first}")
    raise DefectoryError(f"source {name} has no clean image: correct its root or its patterns for clean images{first}")
