"""Input images that are decoded when they are looked at: whoever only counts or plans opens no picture.

In: an image's encoded pictures, with the hash that the split manifest has of them. Out: the arrays, bit for bit those
that were written; those that were looked at last are kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from tasks.contracts import DefectoryError, Image, InputImage, Mask
from tasks.files.pictures import decode_image, decode_mask

PICTURES = ("image", "mask", "foreground")


class Pictures(NamedTuple):
    """The arrays of an image, by the names that they have in it."""

    image: Image
    mask: Mask | None
    foreground: Mask

    @property
    def sha256(self) -> str:
        pixels = hashlib.sha256(self.image.tobytes())
        for mask in (self.mask, self.foreground):
            pixels.update(b"none" if mask is None else np.packbits(mask).tobytes())
        return pixels.hexdigest()

    @property
    def size(self) -> int:
        return sum(picture.nbytes for picture in self if picture is not None)


@dataclass(frozen=True)
class Encoded:
    """The pictures of an image as they lie on disk, and the hash that they have in the split manifest."""

    image_id: str
    image: bytes
    mask: bytes | None
    foreground: bytes
    sha256: str
    file: Path

    def decode(self) -> Pictures:
        """Raises DefectoryError where they are damaged, or are others than the split manifest says."""
        try:
            mask = None if self.mask is None else decode_mask(self.mask)
            pictures = Pictures(decode_image(self.image), mask, decode_mask(self.foreground))
        except OSError as error:
            raise DefectoryError(f"{self.file}: damaged ({error}); remove its folder and run inputs again") from None
        if pictures.sha256 != self.sha256:
            raise DefectoryError(
                f"{self.file}: the pictures of {self.image_id} and the split manifest do not belong together; "
                "remove the folder and run inputs again"
            )
        return pictures


class Kept:
    """Decoded pictures up to a number of bytes: those that were looked at last. For several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes, self._lock = most_bytes, 0, Lock()
        self._pictures: OrderedDict[str, Pictures] = OrderedDict()

    def pictures(self, encoded: Encoded) -> Pictures:
        with self._lock:
            if found := self._pictures.get(encoded.image_id):
                self._pictures.move_to_end(encoded.image_id)
                return found
        return self._keep(encoded.image_id, encoded.decode())  # unlocked: two threads may decode two images at once

    def _keep(self, image_id: str, decoded: Pictures) -> Pictures:
        with self._lock:
            if image_id not in self._pictures:
                self._pictures[image_id] = decoded
                self._bytes += decoded.size
            while self._bytes > self._most:
                self._bytes -= self._pictures.popitem(last=False)[1].size
        return decoded


class ReadImage(InputImage):
    """An input image whose pictures are decoded when they are looked at.

    They are no attributes of its own, which is when Python asks `__getattr__` for them; in a copy that
    `dataclasses.replace` makes they are.
    """

    _encoded: Encoded
    _kept: Kept

    @classmethod
    def of(cls, texts: dict[str, str], encoded: Encoded, kept: Kept) -> ReadImage:
        made = cls.__new__(cls)
        made.__dict__.update(texts, _encoded=encoded, _kept=kept)
        return made

    def __getattr__(self, name: str) -> Any:
        if name not in PICTURES:
            raise AttributeError(name)
        if name == "mask" and self._encoded.mask is None:
            return None
        return getattr(self._kept.pictures(self._encoded), name)
