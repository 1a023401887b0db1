"""The inputs on disk: a Parquet file a category, the split manifest and the report; written once, read by all.

In and out: InputImage; its pictures are decoded when they are looked at. The split manifest, `splits.json`, is the one
place that says who may be trained on. Its hash covers every pixel, mask and split, so a changed input is a changed
fingerprint downstream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts import CLEAN, DefectoryError, InputImage, SkippedInput, check_name
from tasks.files.atomic import write_atomic
from tasks.files.json_text import write_json
from tasks.files.pictures import encode_mask
from tasks.files.tables import IMAGE_ROWS, encode_table
from tasks.inputs.lazy import PICTURES, Encoded, Kept, Pictures, ReadImage

SPLITS, INPUTS_REPORT = "splits.json", "report.json"

_TEXTS = ("image_id", "category", "defect_type", "split", "group", "sha256", "path", "source", "license")
_KNOWN, _PIXELS = ("group", "split", "sha256"), "pixels_sha256"
"""What the split manifest holds of an image."""
_KEPT_BYTES = 2**30
"""Of decoded pictures; those that were looked at last."""
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), *((name, pa.binary()) for name in PICTURES)])


@dataclass(frozen=True)
class Inputs:
    """The inputs of a dataset, in memory."""

    images: tuple[InputImage, ...]
    """By category, defect type and path."""
    skipped: tuple[SkippedInput, ...]
    sha256: str
    """Of the split manifest: of all pixels, masks, foregrounds, groups and splits."""

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return tuple(sorted({image.category for image in self.images}))

    def clean(self, category: str, split: str) -> tuple[InputImage, ...]:
        return self._of(category, split, (CLEAN,))

    def defects(self, category: str, split: str, defect_type: str | None = None) -> tuple[InputImage, ...]:
        """Defective images of one type, or of all types."""
        return self._of(category, split, (defect_type,) if defect_type else self.defect_types(category))

    def defect_types(self, category: str) -> tuple[str, ...]:
        found = {image.defect_type for image in self.images if image.category == category}
        return tuple(sorted(found - {CLEAN}))

    def by_id(self, image_id: str) -> InputImage:
        """Raises DefectoryError for an unknown id."""
        if image_id not in self._by_id:
            raise DefectoryError(
                f"no input image {image_id!r}; the inputs have changed: run the line from its inputs on"
            )
        return self._by_id[image_id]

    @cached_property
    def _by_id(self) -> dict[str, InputImage]:
        return {image.image_id: image for image in self.images}

    def _of(self, category: str, split: str, defect_types: tuple[str, ...]) -> tuple[InputImage, ...]:
        return tuple(
            image
            for image in self.images
            if image.category == category and image.split == split and image.defect_type in defect_types
        )


@dataclass(frozen=True)
class PackedImage:
    """An input image as it lies on disk: its row, and its entry in the split manifest."""

    image_id: str
    row: dict[str, str | bytes | None]
    entry: dict[str, str]


def pack_image(image: InputImage, encoded: bytes) -> PackedImage:
    """Pack an image; `encoded` is its picture as `encode_image` encodes it."""
    row: dict[str, str | bytes | None] = {name: getattr(image, name) for name in _TEXTS}
    row["image"] = encoded
    row["mask"] = None if image.mask is None else encode_mask(image.mask)
    row["foreground"] = encode_mask(image.foreground)
    return PackedImage(image.image_id, row, _entry(image))


def write_category(folder: Path, category: str, images: Iterable[PackedImage]) -> dict[str, dict[str, str]]:
    """Write one category's images; returns their entries in the split manifest."""
    packed = list(images)
    table = pa.Table.from_pylist([image.row for image in packed], schema=_SCHEMA)
    write_atomic(folder / f"{category}.parquet", encode_table(table, IMAGE_ROWS))
    return {image.image_id: image.entry for image in packed}


def write_splits(folder: Path, entries: dict[str, dict[str, str]]) -> str:
    """Write the split manifest; returns its hash."""
    sha256 = _digest(entries)
    write_json(folder / SPLITS, {"sha256": sha256, "images": entries})
    return sha256


def read_inputs(folder: Path) -> Inputs:
    """Read what `build_inputs` wrote. Raises DefectoryError when it is unfinished or was changed since.

    A picture that was changed is refused when it is looked at.
    """
    manifest = _read_json(folder / SPLITS)
    entries, sha256 = manifest.get("images", {}), manifest.get("sha256", "")
    kept = Kept(_KEPT_BYTES)
    images = tuple(
        _image(row, entries, file, kept) for file in sorted(folder.glob("*.parquet")) for row in _read_category(file)
    )
    known = {image_id: {name: entry.get(name) for name in _KNOWN} for image_id, entry in entries.items()}
    if sha256 != _digest(entries) or {image.image_id: _texts(image) for image in images} != known:
        raise DefectoryError(
            f"{folder}: images and {SPLITS} do not belong together; remove the folder and run inputs again"
        )
    skipped = tuple(SkippedInput(**skip) for skip in _read_json(folder / INPUTS_REPORT)["skipped"])
    return Inputs(images, skipped, sha256)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DefectoryError(f"{file}: missing, the inputs are not built; run inputs first") from None
    except ValueError:
        raise DefectoryError(f"{file}: damaged; remove its folder and run inputs again") from None
    return content


def _read_category(file: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in pq.ParquetFile(file).iter_batches(IMAGE_ROWS):
            yield from batch.select(_SCHEMA.names).to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DefectoryError(f"{file}: damaged ({error}); remove its folder and run inputs again") from None


def _image(row: dict[str, Any], entries: dict[str, dict[str, str]], file: Path, kept: Kept) -> InputImage:
    for name in ("category", "defect_type"):  # they become folders, and inputs may have been pulled
        check_name(row[name], name)
    pixels = entries.get(row["image_id"], {}).get(_PIXELS, "")
    encoded = Encoded(row["image_id"], row["image"], row["mask"], row["foreground"], pixels, file)
    return ReadImage.of({name: row[name] for name in _TEXTS}, encoded, kept)


def _texts(image: InputImage) -> dict[str, str]:
    return {name: getattr(image, name) for name in _KNOWN}


def _entry(image: InputImage) -> dict[str, str]:
    return {**_texts(image), _PIXELS: Pictures(image.image, image.mask, image.foreground).sha256}


def _digest(entries: dict[str, dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
