"""Pictures to bytes, the same bytes each time for equal library versions.

Images become lossless WebP: on 40 real solar cells of 256 px it took 22.7 KiB and 13 ms an image, where PNG took
40.0 KiB and 10 ms at level 6, or 34.5 KiB and 101 ms at level 9; it also decodes in half of PNG's time. Masks become
PNG of 1 bit a pixel.
"""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from tasks.contracts import Image, Mask

IMAGE_ENDING, MASK_ENDING = ".webp", ".png"

_FORMATS = ("PNG", "WEBP")
"""That are read again: a stranger's version must not choose among all that Pillow has."""


def encode_image(image: Image) -> bytes:
    """An RGB image (height, width, 3) as lossless WebP; the highest effort would save 3 % at 80 times the time."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "WEBP", lossless=True, quality=50, method=1, exact=True)
    return buffer.getvalue()


def decode_image(data: bytes) -> Image:
    with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        return np.asarray(picture.convert("RGB"))


def encode_mask(mask: Mask) -> bytes:
    """A mask (height, width) as PNG of 1 bit a pixel, white where the defect is."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def decode_mask(data: bytes) -> Mask:
    with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        return np.asarray(picture.convert("1"))
