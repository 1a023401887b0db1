"""Writes a release of a few samples, with the columns that readers of a version use.

Also the stand-in for the release stage of a workspace: `python -m tests.tiny_release` reads params.yaml
in the working directory.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import yaml
from PIL import Image

from tasks.files.tables import encode_table

SIZE = 32
TYPES = ("scratch", "crack")


def pictures(index: int) -> tuple[np.ndarray, np.ndarray]:
    """The image (uint8, SIZE x SIZE x 3) and the mask (bool) of one sample."""
    generator = np.random.default_rng(index)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[index % 8 : index % 8 + 5, 3:11] = True
    return generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), mask


def write_release(folder: Path, samples: int, rows_per_group: int = 3, categories: Sequence[str] = ("cell",)) -> None:
    """`samples` samples of each category, in one shard each, and the manifest."""
    listed: list[dict[str, object]] = []
    for category in categories:
        rows = [_row(category, index) for index in range(samples)]
        shard = folder / "images" / category / "00000.parquet"
        shard.parent.mkdir(parents=True, exist_ok=True)
        stored = [{name: row[name] for name in ("sample_id", "image", "mask")} for row in rows]
        shard.write_bytes(encode_table(pa.Table.from_pylist(stored), rows_per_group))
        listed += [{name: value for name, value in row.items() if name not in ("image", "mask")} for row in rows]
    parquet.write_table(pa.Table.from_pylist(listed), folder / "manifest.parquet")


def _row(category: str, index: int) -> dict[str, object]:
    encoded = [_png(picture) for picture in pictures(index)]
    name = f"{category}-{index:06d}"
    return {
        "sample_id": name,
        "category": category,
        "defect_type": TYPES[index % 2],
        "shard": f"images/{category}/00000.parquet",
        "row": index,
        "image_sha256": hashlib.sha256(encoded[0]).hexdigest(),
        "mask_sha256": hashlib.sha256(encoded[1]).hexdigest(),
        "image": {"bytes": encoded[0], "path": f"{name}.png"},
        "mask": {"bytes": encoded[1], "path": f"{name}_mask.png"},
    }


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


if __name__ == "__main__":
    write_release(
        Path("data/release"), yaml.safe_load(Path("params.yaml").read_text("utf-8"))["dataset"]["samples_per_category"]
    )
