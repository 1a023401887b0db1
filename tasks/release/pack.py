"""Accepted candidates to the release's shards: their bytes as they are, in a file any reader of Parquet understands.

In: candidates on disk and a manifest. Out: one file a planned shard under the shard's own number, so that another
threshold never moves a sample to another file; where nothing was accepted there is no file, since `datasets` cannot
read one without rows. The schema carries the features of Hugging Face `datasets`, which so shows
`image`, `mask` and `intended_mask` as pictures without a loading script.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.candidates.read import read_rows
from tasks.contracts import DefectoryError, ShardPlan
from tasks.files.atomic import write_atomic
from tasks.files.tables import IMAGE_ROWS, encode_table

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES: dict[str, dict[str, str]] = {
    "sample_id": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "mask": {"_type": "Image"},
    "intended_mask": {"_type": "Image"},
}

PACKED_SCHEMA = pa.schema(
    [(name, _PICTURE if kind["_type"] == "Image" else pa.string()) for name, kind in _FEATURES.items()],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
"""`mask` is what changed, the label; `intended_mask` is what was asked for."""

PACKED_FROM = ["sample_id", "shard", "image_file_name", "mask_file_name"]
"""The columns of the manifest that packing asks for."""


def pack_shards(candidates: Path, plans: Iterable[ShardPlan], manifest: pa.Table, out: Path) -> None:
    """Write `out/<category>/<number>.parquet` of every plan in the manifest, rows as the manifest orders them.

    Raises DefectoryError where a shard cannot be read, lacks an accepted sample, or the disk refuses.
    """
    listed = manifest.select(PACKED_FROM)
    for plan in plans:
        accepted = listed.filter(pc.equal(listed["shard"], f"images/{plan.name}.parquet")).to_pylist()
        if accepted:
            packed = pa.Table.from_pylist(_pack(candidates, plan, accepted), PACKED_SCHEMA)
            write_atomic(out / f"{plan.name}.parquet", encode_table(packed, IMAGE_ROWS))


def _pack(candidates: Path, plan: ShardPlan, accepted: list[dict[str, str]]) -> list[dict[str, Any]]:
    read = read_rows(candidates, plan, (row["sample_id"] for row in accepted)).to_pylist()
    made = {row["sample_id"]: row for row in read}
    missing = [row["sample_id"] for row in accepted if row["sample_id"] not in made]
    if missing:
        raise DefectoryError(
            f"shard {plan.name}: has scores but no picture of {', '.join(missing)}; "
            f"remove {plan.name}.done.json from the candidates and run `defectory resume`"
        )
    return [_packed(row, made[row["sample_id"]]) for row in accepted]


def _packed(row: dict[str, str], made: dict[str, Any]) -> dict[str, Any]:
    return {
        "sample_id": row["sample_id"],
        "image": {"bytes": made["image"], "path": row["image_file_name"]},
        "mask": {"bytes": made["effective_mask"], "path": row["mask_file_name"]},
        "intended_mask": {"bytes": made["mask"], "path": row["mask_file_name"].replace("_mask.", "_intended.")},
    }
