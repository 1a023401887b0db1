"""A real `defectory publish`, with its server, dvc and stages, killed at a random second and started again.

In: a repository that `lay_out` has made. Out: a version in it and in its store. Either all processes of the tree are
killed, as by a machine that dies, or one of them, as by the kernel when memory is short.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks import kill_line
from flows.server.local_store import BUCKET
from flows.versions.repository import init_workspace

_PROJECT = Path(__file__).resolve().parent.parent
_PUBLISH = [sys.executable, "-m", "flows.cli", "publish"]


def lay_out(repo: Path, endpoint: str) -> None:
    kill_line.lay_out(repo)
    shutil.copyfile(_PROJECT / "dvc.yaml", repo / "dvc.yaml")
    ignored = "".join(f"/{name}/\n" for name in (*kill_line.CATEGORIES, "data", "pulled"))
    (repo / ".gitignore").write_text(f"{ignored}.cache/\n*.log\n", encoding="utf-8")
    init_workspace(repo, f"s3://{BUCKET}/{repo.name}", endpoint)


def kill(repo: Path, times: int, chance: random.Random) -> Counter[str]:
    """Kill it so often, then let it finish; returns how often what was killed. Raises where it does not finish."""
    kills: Counter[str] = Counter()
    longest = 30.0
    while sum(kills.values()) < times:
        begun = time.monotonic()
        process = start(repo)
        try:
            process.wait(chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            kills[f"publish, by the clock: {_kill_some(process, chance)}"] += 1
        else:
            longest = max(2.0, 0.9 * (time.monotonic() - begun))
            shutil.rmtree(repo / "data")
        process.wait()
    if status := start(repo).wait():
        raise RuntimeError(f"publishing ended with status {status}: {(repo / 'publish.log').read_text()[-2000:]}")
    return kills


def start(repo: Path) -> subprocess.Popen[bytes]:
    """A publishing in processes of its own, with a server of its own; what it says goes to `publish.log`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    with (repo / "publish.log").open("ab") as log:
        return subprocess.Popen(
            _PUBLISH, cwd=repo, env=environment | {"PYTHONPATH": str(_PROJECT)}, stdout=log, stderr=log
        )


def _kill_some(process: subprocess.Popen[bytes], chance: random.Random) -> str:
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    is_whole = chance.random() < 0.7
    for one in tree if is_whole else [chance.choice(tree)]:
        one.kill()
    return "the whole tree" if is_whole else "one process"
