"""Seconds and memory of a stage, for estimates and benchmarks; never part of what is versioned."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.workspace import Workspace


class Clock:
    """Seconds by shard and station. Stations of different shards run side by side, so adding is guarded."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._lock = threading.Lock()
        self.shards: dict[str, dict[str, float]] = {}

    @contextmanager
    def time(self, shard: str, station: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                seconds = self.shards.setdefault(shard, {})
                seconds[station] = seconds.get(station, 0.0) + time.perf_counter() - start

    def total(self, *stations: str) -> float:
        return sum(seconds.get(station, 0.0) for seconds in self.shards.values() for station in stations)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._start


def record_wall(workspace: Workspace, stage: str, start: float) -> None:
    """Keep a stage's wall seconds since `start`, a reading of `time.perf_counter`, and this process's peak memory."""
    seconds = time.perf_counter() - start
    workspace.write_timings(stage, {"wall_seconds": seconds, "peak_memory_bytes": peak_memory()})


def peak_memory() -> int:
    """The largest resident size that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
