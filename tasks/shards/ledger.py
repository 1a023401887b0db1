"""The ledger: one row a planned sample with what became of it, so that nothing vanishes.

In: judged candidates and skipped inputs. Out: a table. Planned = accepted + rejected + failed; inputs that could
not be used follow as rows with the status `skipped` and no sample, since they were never planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.contracts import SkippedInput

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
