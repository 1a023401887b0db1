"""What the readers of a release share: the columns they need, and an item out of the stored bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from PIL import Image as PillowImage

from tasks.contracts import DefectoryError, check_below

SHARD_COLUMNS = ["sample_id", "image", "mask"]
"""The columns of a shard."""
_FORMATS = ("PNG", "WEBP")
"""Of the pictures; a stranger's version must not choose among all that Pillow has."""
_LISTED = ["sample_id", "category", "defect_type", "shard", "row", "image_sha256", "mask_sha256"]


def read_manifest(source: Path | pa.NativeFile, name: str = "") -> pa.Table:
    """The columns of a manifest that readers need; `name` is for messages.

    Raises DefectoryError when there is none, it is no manifest, it lists nothing, or a shard outside of its folder.
    """
    name = name or str(source)
    try:
        table = parquet.read_table(source, columns=_LISTED)
    except FileNotFoundError:
        raise DefectoryError(f"{name}: no manifest; give a release folder, pulled or just made") from None
    except (OSError, ValueError, KeyError) as error:
        raise DefectoryError(f"{name}: not a manifest: {str(error).splitlines()[0]}") from None
    if not table.num_rows:
        raise DefectoryError(f"{name}: the release holds no sample")
    for shard in table["shard"].unique().to_pylist():
        check_below(shard, name)
    return table


def make_item(sample_id: str, image: bytes, mask: bytes, label: int) -> dict[str, Any]:
    """`image` (uint8, (3, height, width), RGB), `mask` (bool, (height, width)), `label` and `sample_id`."""
    return {
        "image": torch.from_numpy(_decode(image, "RGB")).permute(2, 0, 1).contiguous(),
        "mask": torch.from_numpy(_decode(mask, "L") > 127),
        "label": label,
        "sample_id": sample_id,
    }


def _decode(content: bytes, mode: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with PillowImage.open(io.BytesIO(content), formats=_FORMATS) as image:
        return np.array(image.convert(mode), dtype=np.uint8)
