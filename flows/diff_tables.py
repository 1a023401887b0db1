"""The tables of a diff on the terminal: what is equal is said in a line, what differs has its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from flows.terminal import output
from tasks.release.diff import QUANTILES, Diff

_NAMED = 5
"""Samples named on the terminal."""
_LONG = 40
"""Characters of a value; a hash has more."""


def show_diff(before: str, after: str, found: Diff, settings: pd.DataFrame | None) -> None:
    """`settings` are the params and the code's version that differ; None where they are not known of both."""
    output.print(f"{before} -> {after}", markup=False, style="bold")
    _show_samples(found)
    _show_counts("samples", found.counts, ["what", "value"])
    _show_counts("the ledger", found.fates, ["fate"])
    _show_scores(found.scores)
    _show_values("figures that differ", found.metrics)
    if settings is None:
        output.print("params and code: a release's folder does not hold them; give two tags to compare them")
    elif settings.empty:
        output.print("params and code: equal")
    else:
        _show_values("params and code that differ", settings)


def _show_samples(found: Diff) -> None:
    for kind, names in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        output.print(f"{len(names)} {kind}{': ' if names else ''}{listed}", markup=False)
    output.print(f"{found.same} the same, byte for byte")


def _show_counts(title: str, counts: pd.DataFrame, names: Sequence[str]) -> None:
    table = _table(title, *names, "before", "after", "change", right_from=len(names))
    last = None
    for row in counts.to_dict("records"):
        labels = [_text(row[name]) for name in names]
        if len(names) > 1 and last == labels[0]:
            labels[0] = ""
        elif len(names) > 1:
            table.add_section()
            last = labels[0]
        table.add_row(*labels, str(row["before"]), str(row["after"]), _change(row["after"] - row["before"]))
    output.print(table)


def _show_scores(scores: pd.DataFrame) -> None:
    heads = ["median" if quantile == 0.5 else f"{quantile:.0%}" for quantile in QUANTILES]
    columns = [f"{name} {head}" for name in ("before", "after") for head in heads]
    table = _table("scores: median and quantiles", "score", *columns)
    for score, group in scores.groupby("score", sort=False):
        numbers = [*group["before"], *group["after"]]
        table.add_row(str(score), *("-" if pd.isna(number) else f"{number:.3g}" for number in numbers))
    output.print(table)


def _show_values(title: str, values: pd.DataFrame) -> None:
    if values.empty:
        return
    table = _table(title, "", "before", "after", right_from=9)
    for row in values.to_dict("records"):
        table.add_row(_text(row["name"]), _text(row["before"]), _text(row["after"]))
    output.print(table)


def _change(difference: int) -> str:
    return f"[bold]{difference:+d}[/]" if difference else "="


def _text(value: Any) -> str:
    text = "-" if value is None else str(value)
    return escape(text if len(text) <= _LONG else f"{text[:12]}…")


def _table(title: str, *columns: str, right_from: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if place >= right_from else "left")
    return table
