"""Painted examples on disk, one Parquet file a system, so that a benchmark that was stopped paints nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.detectors.protocol import Example
from tasks.files.atomic import write_atomic
from tasks.files.pictures import decode_image, decode_mask, encode_image, encode_mask
from tasks.files.tables import IMAGE_ROWS, encode_table

_KEY = b"made_from"
_TEXTS = ("example_id", "category", "defect_type", "origin")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("image", pa.binary()), ("mask", pa.binary())])

ByCategory = dict[str, tuple[Example, ...]]


def write_examples(path: Path, made_from: str, examples: Mapping[str, tuple[Example, ...]]) -> None:
    """Every example has a mask."""
    rows = [
        {
            "example_id": example.example_id,
            "category": category,
            "defect_type": example.defect_type,
            "origin": example.origin,
            "image": encode_image(example.image),
            "mask": encode_mask(example.mask),
        }
        for category, made in sorted(examples.items())
        for example in made
        if example.mask is not None
    ]
    table = pa.Table.from_pylist(rows, _SCHEMA.with_metadata({_KEY: made_from.encode()}))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode_table(table, IMAGE_ROWS))


def read_examples(path: Path, made_from: str) -> ByCategory | None:
    """None where there is no file, or one that was made from something else."""
    if not path.is_file():
        return None
    table = pq.read_table(path)
    if (table.schema.metadata or {}).get(_KEY) != made_from.encode():
        return None
    found: dict[str, list[Example]] = {}
    for row in table.to_pylist():
        picture, mask = decode_image(row["image"]), decode_mask(row["mask"])
        example = Example(row["example_id"], picture, row["defect_type"], mask, origin=row["origin"])
        found.setdefault(row["category"], []).append(example)
    return {category: tuple(examples) for category, examples in found.items()}
