"""Images and masks as PNG and back, without loss and the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage

from tasks.contracts import Image, Mask


def encode_png(image: Image | Mask) -> bytes:
    """PNG of an RGB image (height, width, 3) or a mask (height, width); grey is kept in one channel."""
    if image.ndim == 3 and (image == image[..., :1]).all():
        image = np.ascontiguousarray(image[..., 0])
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_image_png(data: bytes) -> Image:
    """RGB, (height, width, 3)."""
    return np.array(PillowImage.open(io.BytesIO(data)).convert("RGB"))


def decode_mask_png(data: bytes) -> Mask:
    """(height, width), True where not black."""
    return np.array(PillowImage.open(io.BytesIO(data)).convert("L")) > 0
