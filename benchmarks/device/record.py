"""What a run has found so far: on disk after every row, so that a run that is killed loses nothing.

`device.json` holds every number, `device.md` the same as tables.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.device.estimate import ESTIMATE, estimates
from benchmarks.device.tables import page_of
from tasks.files.atomic import write_atomic

JSON, PAGE = "device.json", "device.md"

Row = dict[str, Any]


class Record:
    """Tables by name, each a list of rows; failures with their tracebacks; and what was left out."""

    def __init__(self, folder: Path, title: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.title = folder, title
        self.tables: dict[str, list[Row]] = {}
        self.failures: list[Row] = []
        self.left_out: list[str] = []
        self.warnings: list[str] = []

    def add(self, table: str, row: Row) -> None:
        print(f"{table}: {_line(row)}", flush=True)
        self.extend(table, [row])

    def extend(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows that nobody reads while the run goes on."""
        self.tables.setdefault(table, []).extend(rows)
        self.write()

    def fail(self, name: str, error: Exception) -> None:
        """Keep why a part gave nothing."""
        text = "".join(traceback.format_exception(error))
        self.failures.append({"part": name, "error": f"{type(error).__name__}: {error}", "traceback": text})
        print(f"{name}: FAILED\n{text}", flush=True)
        self.write()

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.append(f"{name}: {reason}")
        print(f"{name}: left out, {reason}", flush=True)
        self.write()

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def finish(self, seconds: float) -> None:
        self.add("run", {"seconds": seconds, "failed": len(self.failures), "left out": len(self.left_out)})

    def write(self) -> None:
        tables = {**self.tables, ESTIMATE: estimates(self.tables)}
        found = {"failures": self.failures, "left_out": self.left_out, "warnings": self.warnings}
        content = {"title": self.title, "tables": tables, **found}
        write_atomic(self.folder / JSON, (json.dumps(content, indent=1) + "\n").encode())
        page = page_of(self.title, tables, self.failures, self.left_out, self.warnings)
        write_atomic(self.folder / PAGE, page.encode())


def _line(row: Row) -> str:
    return ", ".join(f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in row.items())
