"""Clocks for work that a device does while nobody waits for it."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import torch

from tasks.networks.device import HOST, wait_for

_WINDOWS = 10
"""Into which a training's steps are divided; the device is waited for between two of them."""


class StepClock:
    """A `Report` that keeps when steps were done. The device is waited for now and then only: a clock that waits at
    every step would hide that the next one is prepared meanwhile."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: dict[str, list[tuple[int, float]]] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if done % max(1, total // _WINDOWS) == 0 or done == total:
            wait_for(self._device)
            self._marks.setdefault(what, []).append((done, time.perf_counter()))

    @property
    def seen(self) -> list[str]:
        return list(self._marks)

    def steps(self, what: str) -> int:
        return self._marks[what][-1][0]

    def seconds_a_step(self, what: str) -> float | None:
        """The median over windows, without the first one where there are others; None for a single window's end."""
        marks = self._marks[what]
        pairs = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(marks) if b[0] > a[0]]
        return statistics.median(pairs[1:] or pairs) if pairs else None


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Of one run of the work, until the device has done all of it."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def median_seconds(device: torch.device, work: Callable[[], object], repeats: int) -> float:
    """The median of so many runs, after two that are not counted."""
    return statistics.median([seconds_of(device, work) for _ in range(repeats + 2)][2:])


def peak_memory_gib(device: torch.device) -> float | None:
    """The most memory that tensors took on the device since `forget_peak`; None on the host."""
    return None if device == HOST else torch.accelerator.max_memory_allocated(device) / 2**30


def forget_peak(device: torch.device) -> None:
    """Give back what nobody holds, and begin to look for the largest use anew."""
    gc.collect()
    if device != HOST:
        torch.accelerator.empty_cache()
        torch.accelerator.reset_peak_memory_stats(device)


class Usage:
    """What the device's driver says of its use while the block runs: the mean share of time with work on it."""

    def __init__(self, device: torch.device, every: float = 0.1) -> None:
        self._device, self._every = device, every
        self._read: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def share(self) -> float | None:
        """None where the driver does not say."""
        return statistics.fmean(self._read) / 100 if self._read else None

    def _watch(self) -> None:
        ask = getattr(getattr(torch, self._device.type, None), "utilization", None)
        while ask and not self._done.wait(self._every):
            try:
                self._read.append(int(ask(self._device)))
            except Exception:  # no driver to ask, or one that does not answer: the column stays empty
                return
