"""The manifest: one row a released sample with all that is known of it, enough to make it again.

In: the scores of accepted candidates. Out: a table whose columns and their order are a promise to readers. The column
`seconds` is null: measured time differs from run to run, and a version must not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.contracts import TRAIN
from tasks.shards.encode import IMAGE_ENDING, MASK_ENDING

MANIFEST_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("sample_id", "category", "defect_type", "method", "split")),
        *((name, pa.int32()) for name in ("width", "height")),
        *((name, pa.string()) for name in ("image_file_name", "mask_file_name", "shard")),
        ("row", pa.int32()),
        *((name, pa.string()) for name in ("image_sha256", "mask_sha256")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("clean_id", "clean_sha256", "reference_id", "mask_source")),
        *((name, pa.float64()) for name in ("intended_area", "effective_area", "strength")),
        *((name, pa.string()) for name in ("prompt", "model_sha256", "params_fingerprint")),
        *((name, pa.float64()) for name in ("lpips_to_clean", "nearest_lpips", "outside_max_abs")),
        *((name, pa.float64()) for name in ("class_confidence", "class_entropy", "seconds")),
        *((name, pa.string()) for name in ("license", "source")),
    ]
)


def build_manifest(accepted: pd.DataFrame) -> pa.Table:
    """The table of `MANIFEST_SCHEMA`.

    `accepted` has the columns of the candidates' scores, `shard` and `nearest_lpips`, in the order of category and
    index, in which the rows of a shard's file lie too. `nearest_lpips` is null where there is no nearest sample.
    """
    stem = accepted["category"] + "/" + accepted["defect_type"] + "/" + accepted["sample_id"]
    columns = accepted.assign(
        method=accepted["system"],
        split=TRAIN,
        image_file_name=stem + IMAGE_ENDING,
        mask_file_name=stem + "_mask" + MASK_ENDING,
        shard="images/" + accepted["shard"] + ".parquet",
        row=accepted.groupby("shard").cumcount(),
        mask_sha256=accepted["effective_mask_sha256"],
        nearest_lpips=accepted["nearest_lpips"].replace(np.inf, np.nan),
        seconds=np.nan,
    )
    table = pa.Table.from_pandas(columns[MANIFEST_SCHEMA.names], MANIFEST_SCHEMA, preserve_index=False)
    return table.replace_schema_metadata(None)
