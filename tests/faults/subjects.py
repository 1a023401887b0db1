"""What the tests of faults do in a process of its own, beside the line and the publishing."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from benchmarks import kill_line

TWICE, JUMPING = "tests.faults.subjects:run_twice_at_once", "tests.faults.subjects:run_with_a_clock_that_jumps"
_DAY = 24 * 3600.0


def run_twice_at_once(folder: Path) -> None:
    """Two processes run the same workspace side by side; raises where one of them fails."""
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                kill_line.run(folder)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0, 0]


def run_with_a_clock_that_jumps(folder: Path) -> None:
    """Every reading of the clock is days away from the one before, now ahead and now behind."""
    clock, jumps = time.time, itertools.cycle((0.0, 3 * _DAY, -40 * _DAY, 400 * _DAY))
    time.time = lambda: clock() + next(jumps)
    time.time_ns = lambda: int(time.time() * 1e9)
    kill_line.run(folder)
