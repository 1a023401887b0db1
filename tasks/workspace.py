"""Where the line's data lie below a root, and what a run leaves beside it.

What is below the root is versioned and has no clock in it; timings are kept in `.cache` beside the root.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.files.json_text import write_json

PARAMS, ROOT = Path("params.yaml"), Path("data")


@dataclass(frozen=True)
class Workspace:
    root: Path = ROOT

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates"

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def evaluation_cache(self) -> Path:
        """The baselines' files and the detectors' scores, from which a stopped evaluation goes on."""
        return self.root / ".." / ".cache" / "evaluation"

    def timings_file(self, stage: str) -> Path:
        return self.root / ".." / ".cache" / "timings" / f"{stage}.json"

    def read_timings(self, stage: str) -> dict[str, Any]:
        """What the stage's last run has recorded; empty where it has not run or the file is torn."""
        try:
            content = json.loads(self.timings_file(stage).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_timings(self, stage: str, content: dict[str, Any]) -> None:
        write_json(self.timings_file(stage), content)
