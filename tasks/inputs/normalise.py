"""One photograph of any size and mode in, one square RGB array out; the same for masks.

In: a file and the source's rules. Out: arrays of the contracts' types. Why here: every reader shares it, so
that a file which cannot be used is refused in one place, with one reason, before its pixels are decoded.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from tasks.contracts import DefectoryError, Image, Mask

Fit = Literal["squash", "crop", "pad"]

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders are known to raise for damaged files."""

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Of photographs and masks. Pillow knows more, and gives one of them, PostScript, to a program that runs it."""

_HEADERS = threading.Lock()
"""Held while a header is read: Python's warning filters belong to the whole process."""

_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


class UnusableInput(DefectoryError):
    """One file cannot be used; the text is the reason that ends up beside its name. Never fatal for the others."""


def read_photograph(path: Path, max_pixels: int) -> Image:
    """The photograph at its own size, (height, width, 3) RGB, upright by its EXIF tag.

    16-bit grey is divided by 257 (65535 becomes 255), transparency is laid over black, palettes and CMYK are
    converted. Raises UnusableInput for a file that is empty, damaged, no image, too large or of another mode.
    """
    return _to_rgb(_open(path, max_pixels))


def read_mask(path: Path, max_pixels: int, threshold: int, shape: tuple[int, int]) -> Mask:
    """The mask at its own size: True where any colour channel is above `threshold` (of 255).

    `shape` is (height, width) of its photograph. Raises UnusableInput, as `read_photograph` does, and for a mask of
    another size or one that is empty.
    """
    try:
        levels = read_photograph(path, max_pixels)
    except UnusableInput as error:
        raise UnusableInput(f"its mask: {error}") from None
    if levels.shape[:2] != shape:
        raise UnusableInput(f"its mask is {_size(levels.shape[:2])} pixels, the image {_size(shape)}")
    mask: Mask = np.any(levels > threshold, axis=2)
    if not mask.any():
        raise UnusableInput(
            f"its mask is empty: no pixel is above mask_threshold {threshold}, the brightest is {levels.max()}"
        )
    return mask


def fit_image(image: Image, size: int, fit: Fit) -> Image:
    """The image brought to (size, size, 3): squashed, cut to its central square, or padded with its edge pixels."""
    square = PillowImage.fromarray(_square(image, fit, "edge"))
    return np.array(square.resize((size, size), PillowImage.Resampling.BICUBIC))


def fit_mask(mask: Mask, size: int, fit: Fit) -> Mask:
    """The mask brought to (size, size), as its image was. Raises UnusableInput where nothing of the defect is left.

    A pixel is defect where a quarter of it is covered: a crack thinner than a pixel then stays in one piece.
    """
    square = PillowImage.fromarray(_square(mask, fit, "constant").astype(np.uint8) * 255)
    fitted: Mask = np.asarray(square.resize((size, size), PillowImage.Resampling.BOX)) >= 64
    if not fitted.any():
        raise UnusableInput(f"nothing of its mask is left at {size} x {size} pixels with fit '{fit}'")
    return fitted


def _open(path: Path, max_pixels: int) -> PillowImage.Image:
    """Decode a file whose header states no more than `max_pixels` pixels."""
    try:
        _check_file(path.stat())
        with _HEADERS, warnings.catch_warnings():
            # The limit of the params stands in for Pillow's own, which only warns at first.
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            image = PillowImage.open(path, formats=_FORMATS)
        with image:
            _check_size(image.size, max_pixels)
            image.load()
            return ImageOps.exif_transpose(image)
    except UnusableInput:
        raise
    except PillowImage.DecompressionBombError:
        raise UnusableInput(
            "it has more pixels than the image library opens, whatever inputs.max_pixels says"
        ) from None
    except UnidentifiedImageError:
        raise UnusableInput("not an image, or of a format that cannot be read") from None
    except _DECODE_ERRORS as error:
        raise UnusableInput(f"damaged or unreadable: {_first_line(error)}") from None


def _check_file(status: os.stat_result) -> None:
    """Before it is opened, for opening a pipe waits for whoever writes to it."""
    if not stat.S_ISREG(status.st_mode):
        raise UnusableInput("not a regular file but a folder, a pipe or a device")
    if status.st_size == 0:
        raise UnusableInput("the file is empty (0 bytes)")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnusableInput(f"{width} x {height} pixels are more than inputs.max_pixels ({max_pixels})")


def _to_rgb(image: PillowImage.Image) -> Image:
    if image.mode.startswith(("I", "F")):
        levels = _to_eight_bit(np.asarray(image), image.mode)
        return np.repeat(levels[..., None], 3, axis=2)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, (0, 0, 0, 255)), opaque)
    return np.array(image.convert("RGB"))


def _to_eight_bit(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    levels = np.asarray(values, dtype=np.float64)
    if mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise UnusableInput(f"pixel values of mode '{mode}' beyond 16 bits: save it with 8 or 16 bits a channel")
    return np.rint(levels / 257.0).astype(np.uint8)


def _square(array: NDArray[np.generic], fit: Fit, padding: Literal["edge", "constant"]) -> NDArray[np.generic]:
    if fit == "squash":
        return array
    height, width = array.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return array[top : top + side, left : left + side]
    side = max(height, width)
    margins = [((side - length) // 2, side - length - (side - length) // 2) for length in (height, width)]
    return np.pad(array, [*margins, *[(0, 0)] * (array.ndim - 2)], mode=padding)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _first_line(error: BaseException) -> str:
    """Without paths: the message stands beside the file's name and must read the same on every machine."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
