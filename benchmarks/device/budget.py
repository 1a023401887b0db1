"""The time that a run may take, and what is done with a part that would overrun it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTimeError(Exception):
    """A part was stopped, so that what comes after it still fits."""


class Budget:
    """Seconds since its making, of those that there are."""

    def __init__(self, seconds: float) -> None:
        self._start, self.seconds = time.perf_counter(), seconds

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._start

    def until(self, share: float) -> float:
        """Seconds left before this share of the whole time is over; negative afterwards."""
        return share * self.seconds - self.elapsed


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block once so many seconds are over; an earlier alarm is set again afterwards."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before, start = signal.getsignal(signal.SIGALRM), time.perf_counter()
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, remaining - (time.perf_counter() - start)))
