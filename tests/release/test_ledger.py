import pandas as pd

from tasks.contracts import SkippedInput
from tasks.release.manifest import LEDGER_SCHEMA, build_ledger, count_statuses

JUDGED = pd.DataFrame(
    [
        ("a-0", "a", "accepted", "", 0.4, None),
        ("a-1", "a", "rejected", "min_change_inside", 2.5, None),
        ("a-2", "a", "failed", "", float("nan"), "masks: no place"),
        ("b-0", "b", "accepted", "", float("inf"), None),
    ],
    columns=LEDGER_SCHEMA.names,
)


def test_every_sample_has_a_row_and_a_value_only_where_a_rule_was_broken() -> None:
    rows = build_ledger(JUDGED, ()).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("a-0", "a", "accepted", None, None, None),
        ("a-1", "a", "rejected", "min_change_inside", 2.5, None),
        ("a-2", "a", "failed", None, None, "masks: no place"),
        ("b-0", "b", "accepted", None, None, None),
    ]


def test_skipped_inputs_are_listed_but_are_no_samples() -> None:
    ledger = build_ledger(
        JUDGED, [SkippedInput("z.png", "bottles", "empty"), SkippedInput("b.png", "bottles", "16 bit")]
    )
    assert ledger.schema.equals(LEDGER_SCHEMA)
    last = ledger.to_pylist()[-2:]
    assert [row["error"] for row in last] == ["bottles: b.png: 16 bit", "bottles: z.png: empty"]
    assert {row["status"] for row in last} == {"skipped"}
    assert count_statuses(ledger) == {"a": {"accepted": 1, "rejected": 1, "failed": 1}, "b": {"accepted": 1}}
