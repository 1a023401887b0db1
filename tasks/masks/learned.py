"""learned_masks.parquet: masks that a generator made once, in training, to be placed like real ones in any sample.

In: the masks of AnomalyDiffusion's or VQ-Transformer's mask generator. Out: references of the source `learned`, for
every synthesis system. A bank, and not a generator at hand, so that drawing a mask needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts import ReferenceMask
from tasks.files.atomic import replacing
from tasks.files.names import LEARNED_MASKS, PSEUDO_MASKS
from tasks.files.pictures import decode_mask, encode_mask
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import references_of
from tasks.masks.pseudo_store import read_references


def write_learned(path: Path, masks: Sequence[ReferenceMask]) -> None:
    """Rows sorted by reference id."""
    rows = [
        {
            "reference_id": made.reference_id,
            "category": made.category,
            "defect_type": made.defect_type,
            "mask": encode_mask(made.mask),
        }
        for made in sorted(masks, key=lambda made: made.reference_id)
    ]
    schema = pa.schema([(name, pa.string()) for name in ("reference_id", "category", "defect_type")])
    with replacing(path) as partial:
        pq.write_table(
            pa.Table.from_pylist(rows, schema.append(pa.field("mask", pa.binary()))), partial, compression="NONE"
        )


def read_learned(path: Path) -> list[ReferenceMask]:
    """All masks; none where the file is absent, as for a dataset without the source `learned`."""
    if not path.is_file():
        return []
    return [
        ReferenceMask(
            row["reference_id"], row["category"], row["defect_type"], decode_mask(row["mask"]), False, learned=True
        )
        for row in pq.read_table(path).to_pylist()
    ]


def all_references(inputs: Inputs, models: Path) -> tuple[ReferenceMask, ...]:
    """Every shape a mask can be drawn from: real, pseudo and learned ones."""
    return references_of(inputs, read_references(models / PSEUDO_MASKS)) + tuple(read_learned(models / LEARNED_MASKS))
