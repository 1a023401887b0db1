"""The ledger: one row a planned sample with what became of it, so that nothing vanishes.

In: verdicts and skipped inputs. Out: a table. Planned = accepted + rejected + failed; inputs that could not be used
follow as rows with the status `skipped` and no sample, since they were never planned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa

from tasks.contracts import SkippedInput, Verdict

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


def build_ledger(categories: Sequence[str], verdicts: Sequence[Verdict], skipped: Iterable[SkippedInput]) -> pa.Table:
    """The table of `LEDGER_SCHEMA`; `categories` are those of the verdicts' samples, in the same order."""
    rows = [_row(category, verdict) for category, verdict in zip(categories, verdicts, strict=True)]
    rows += [
        {"status": SKIPPED, "error": f"{item.source}: {item.path}: {item.reason}"}
        for item in sorted(skipped, key=lambda item: (item.source, item.path))
    ]
    return pa.Table.from_pylist(rows, LEDGER_SCHEMA)


def count_statuses(ledger: pa.Table) -> dict[str, Counter[str]]:
    """By category, in sorted order: how many planned samples have each status."""
    counts: dict[str, Counter[str]] = {}
    for category, status in zip(ledger["category"].to_pylist(), ledger["status"].to_pylist(), strict=True):
        if category is not None:
            counts.setdefault(category, Counter())[status] += 1
    return dict(sorted(counts.items()))


def count_rules(ledger: pa.Table) -> dict[str, Counter[str]]:
    """By category, in sorted order: how many samples each rule has rejected."""
    counts: dict[str, Counter[str]] = {category: Counter() for category in count_statuses(ledger)}
    for category, rule in zip(ledger["category"].to_pylist(), ledger["rule"].to_pylist(), strict=True):
        if category is not None and rule:
            counts[category][rule] += 1
    return counts


def _row(category: str, verdict: Verdict) -> dict[str, str | float | None]:
    rejected = verdict.status == REJECTED
    return {
        "sample_id": verdict.sample_id,
        "category": category,
        "status": verdict.status,
        "rule": verdict.rule or None,
        "value": verdict.value if rejected and math.isfinite(verdict.value) else None,
        "error": verdict.error or None,
    }
