"""Where a shard of candidates lies on disk, and the columns of its two tables.

In: a plan's name. Out: three files a shard, of which the done-marker is the last one written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.contracts import ShardPlan

SCORES = (
    "lpips_to_clean",
    "lpips_inside",
    "change_inside",
    "outside_max_abs",
    "outside_mean_abs",
    "seam_contrast",
    "class_confidence",
    "class_entropy",
    "intended_area",
    "effective_area",
    "effective_share",
)
"""The scores of every candidate; areas are shares of the image."""

IMAGES_SCHEMA = pa.schema(
    [("sample_id", pa.string()), ("image", pa.binary()), ("mask", pa.binary()), ("effective_mask", pa.binary())]
)
"""`mask` is the intended mask, `effective_mask` what changed."""

SCORES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("sample_id", "dataset", "category", "defect_type")),
        ("index", pa.int64()),
        *((name, pa.string()) for name in ("clean_id", "mask_source", "system")),
        ("strength", pa.float64()),
        ("seed", pa.int64()),
        ("error", pa.string()),
        *((name, pa.string()) for name in ("reference_id", "clean_sha256", "license", "source", "prompt")),
        *((name, pa.string()) for name in ("model_sha256", "params_fingerprint")),
        *((name, pa.int32()) for name in ("width", "height")),
        *((name, pa.string()) for name in ("image_sha256", "mask_sha256", "effective_mask_sha256")),
        *((name, pa.float64()) for name in SCORES),
        ("logits", pa.list_(pa.float16())),
        ("descriptor", pa.list_(pa.float16())),
    ]
)
"""One row a planned sample; a failed one has an `error` and nulls after it."""


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard of candidates."""

    images: Path
    scores: Path
    marker: Path

    @property
    def data(self) -> tuple[Path, Path]:
        return self.images, self.scores


def shard_files(root: Path, plan: ShardPlan) -> ShardFiles:
    return named_files(root, plan.name)


def named_files(root: Path, name: str) -> ShardFiles:
    """The files of the shard `name`, which reads `<category>/<number:05d>`."""
    base = root / name
    return ShardFiles(*(base.with_name(base.name + ending) for ending in (".parquet", ".scores.parquet", ".done.json")))
