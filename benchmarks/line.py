"""The line: seconds an accepted image costs at each station, and the share of `generate` in which no model works.

`python -m benchmarks.line [--workspace DIR] [--params FILE]` reads what the run in DIR has recorded; where there is
none, it makes one there, from the params of this project unless others are given.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.figures import print_figure
from flows.factory import factory
from flows.line.stage import recorded
from flows.line.stations import STATIONS
from flows.terminal import size
from tasks.files.names import METRICS
from tasks.workspace import PARAMS, Workspace

AIM = 0.10
STAGES = ("inputs", "train", "generate", "release")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(".cache") / "benchmarks" / "line")
    parser.add_argument("--params", type=Path, default=PARAMS)
    given = parser.parse_args()
    workspace = Workspace(given.workspace / "data")
    if not workspace.read_timings("generate") or not workspace.release.is_dir():
        _make(given.workspace, given.params)
    _print_table(workspace)
    share = idle_share(workspace.read_timings("generate"))
    print_figure("line", share, "share of wall time without a model", f"< {AIM}", share < AIM)


def idle_share(record: dict[str, Any]) -> float:
    """Of the last run of `generate` that made anything: from its first line to its last, reading inputs and models
    included; the libraries are imported before, while the server starts."""
    return 1.0 - float(record["model_seconds"]) / float(record["wall_seconds"])


def _make(folder: Path, params: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(params, folder / PARAMS.name)
    recorded(factory, folder / PARAMS.name, folder / "data")


def _print_table(workspace: Workspace) -> None:
    accepted = json.loads((workspace.release / METRICS).read_text(encoding="utf-8"))["accepted"]
    print(f"{accepted} accepted images")
    for stage in STAGES:
        record = workspace.read_timings(stage)
        if not record:
            continue
        memory = size(record["peak_memory_bytes"])
        print(f"{stage:<10}{record['wall_seconds'] / max(accepted, 1):8.2f} s an accepted image, peak memory {memory}")
        shards = record.get("shards", {}).values()
        for station in STATIONS if shards else ():
            seconds = sum(shard.get(station, 0.0) for shard in shards)
            print(f"  {station:<8}{seconds / max(accepted, 1):8.2f} s")


if __name__ == "__main__":
    main()
