"""The manifest: one row a released sample with all that is known of it, enough to make it again.

In: the scores of accepted candidates. Out: a table whose columns and their order are a promise to readers: new
ones come at the end. The column `seconds` is null: measured time differs from run to run, and a version must not.

The ledger has one row a planned sample with what became of it, so that nothing vanishes: planned = accepted + rejected
+ failed. Inputs that could not be used follow as rows with the status `skipped` and no sample, since they were never
planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.contracts import TRAIN, SkippedInput
from tasks.files.pictures import IMAGE_ENDING, MASK_ENDING

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
        ("nearest_real_lpips", pa.float64()),
        ("nearest_real_id", pa.string()),
        ("dataset", pa.string()),
        ("index", pa.int64()),
        ("line_fingerprint", pa.string()),
    ]
)

PART = b"defectory.categories"
"""A key in the metadata of a manifest that lists some categories of its release only; the value names them."""

ACCEPTED, REJECTED, FAILED, SKIPPED = "accepted", "rejected", "failed", "skipped"

LEDGER_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("category", pa.string()),
        ("status", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("error", pa.string()),
    ]
)


def build_manifest(accepted: pd.DataFrame) -> pa.Table:
    """The table of `MANIFEST_SCHEMA`.

    `accepted` has the columns of the candidates' scores, `shard`, `nearest_lpips`, the two of the nearest real image
    and `line_fingerprint`, in the order of category and index, in which the rows of a shard's file lie too. A distance
    is null where there is nothing to be near to, and that to a real image where none was described. `line_fingerprint`
    is of what the sample was made with (see `tasks.plan.line_fingerprint`), where `params_fingerprint` is of its shard.
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
        nearest_real_lpips=accepted["nearest_real_lpips"].replace(np.inf, np.nan),
        nearest_real_id=accepted["nearest_real_id"].replace("", None),
        seconds=np.nan,
    )
    table = pa.Table.from_pandas(columns[MANIFEST_SCHEMA.names], MANIFEST_SCHEMA, preserve_index=False)
    return table.replace_schema_metadata(None)


def part_of_manifest(manifest: pa.Table, categories: Iterable[str]) -> pa.Table:
    """The rows of these categories, as they are, marked as a part of the release."""
    names = sorted(categories)
    rows = manifest.filter(pc.is_in(manifest["category"], pa.array(names, pa.string())))
    return rows.replace_schema_metadata({PART: ",".join(names)})


def build_ledger(judged: pd.DataFrame, skipped: Iterable[SkippedInput]) -> pa.Table:
    """The table of `LEDGER_SCHEMA`: the rows of `judged`, which has its columns, in their order, then skipped inputs.

    `value` is what broke the rule; where none was broken, or it is not finite, it is null.
    """
    broken = (judged["status"] == REJECTED) & np.isfinite(judged["value"])
    listed = judged.assign(value=judged["value"].where(broken), rule=judged["rule"].replace("", None))
    samples = pa.Table.from_pandas(listed[LEDGER_SCHEMA.names], LEDGER_SCHEMA, preserve_index=False)
    unused = [
        {"status": SKIPPED, "error": f"{item.source}: {item.path}: {item.reason}"}
        for item in sorted(skipped, key=lambda item: (item.source, item.path, item.reason))
    ]
    return pa.concat_tables([samples.replace_schema_metadata(None), pa.Table.from_pylist(unused, LEDGER_SCHEMA)])


def count_statuses(ledger: pa.Table) -> dict[str, Counter[str]]:
    """By category, in sorted order: how many planned samples have each status."""
    counts: dict[str, Counter[str]] = {}
    for category, status in zip(ledger["category"].to_pylist(), ledger["status"].to_pylist(), strict=True):
        if category is not None:
            counts.setdefault(category, Counter())[status] += 1
    return dict(sorted(counts.items()))
