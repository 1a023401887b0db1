"""What this device does with the line and its networks, measured within minutes.

    python -m benchmarks.device --out DIR [--inputs FOLDER] [--seconds 480] [--small] [--only PART,...]

The most important comes first, every row is written to DIR at once, and what no longer fits into the time is left out,
by name. FOLDER is one category in the layout of MVTec AD, named as its folder is; without one, photographs are made.
Parts: hardware, embedded, pretrained, profile, repeats, batches, networks.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from benchmarks.device import embedded, pretrained
from benchmarks.device.budget import Budget, limited
from benchmarks.device.hardware import hardware_row
from benchmarks.device.networks import embedded_network, measure_network, pretrained_network
from benchmarks.device.photographs import make_photographs
from benchmarks.device.profile import measure_profile
from benchmarks.device.recipes import embedded as embedded_params
from benchmarks.device.record import Record
from benchmarks.device.repeats import measure_repeats
from benchmarks.device.sheet import Sheet
from benchmarks.device.shop import Shop
from benchmarks.device.sizes import REAL, SMALL
from benchmarks.device.stable_diffusion import FULL, TINY, write_pipelines
from benchmarks.device.timing import forget_peak
from tasks.networks.arithmetic import fix_arithmetic
from tasks.networks.device import choose_device, describe_device

PARTS = ("hardware", "embedded", "pretrained", "profile", "repeats", "batches", "networks")
_SHORTEST = 10.0
"""Seconds that a part is worth beginning with."""
_LONGEST = 90.0
"""Seconds that a part may go on for although its share of the time is over."""


@dataclass(frozen=True)
class Job:
    """A part of a part. It waits until all others had their turn once more than its share of the time is over."""

    part: str
    name: str
    until: float
    run: Callable[[], None]


class Jobs:
    """All that is measured, in its order."""

    def __init__(self, shop: Shop, systems: Sequence[str], small: bool) -> None:
        self.shop, self.systems, self.architecture = shop, systems, TINY if small else FULL

    @cached_property
    def pipelines(self) -> Path:
        return write_pipelines(self.shop.work / "pipelines", self.architecture, self.shop.device)

    def listed(self) -> Iterator[Job]:
        yield Job("hardware", "hardware", 1.0, self._hardware)
        sides = self.shop.sizes.pretrained_sides
        yield from self._embedded()
        yield from self._pretrained(sides[0], until=0.8)
        yield Job("profile", "profile", 0.85, partial(measure_profile, self.shop))
        yield Job("repeats", "repeats", 0.85, partial(measure_repeats, self.shop))
        yield Job("batches", "batches", 0.85, partial(embedded.measure_batches, self.shop))
        yield Job("networks", "networks, embedded", 0.9, self._embedded_network)
        yield Job("networks", "networks, Stable Diffusion", 0.95, self._pretrained_network)
        for side in sides[1:]:
            yield from self._pretrained(side, until=1.0)

    def _hardware(self) -> None:
        self.shop.record.add("hardware", hardware_row(self.shop.device, self.shop.sizes))

    def _embedded(self) -> Iterator[Job]:
        sheet = self._sheet("embedded", f"embedded backbones, {self.shop.sizes.side} px")
        for system in filter(self.systems.__contains__, embedded.ORDER):
            work = partial(embedded.measure_embedded, self.shop, system, sheet)
            yield Job("embedded", f"embedded, {system}", 0.5, work)

    def _pretrained(self, side: int, until: float) -> Iterator[Job]:
        sheet = self._sheet(f"pretrained_{side}", f"random weights of Stable Diffusion's architecture, {side} px")
        for system in filter(self.systems.__contains__, pretrained.ORDER):
            work = partial(self._paint, system, side, sheet)
            yield Job("pretrained", f"pretrained, {side} px, {system}", until, work)

    def _paint(self, system: str, side: int, sheet: Sheet) -> None:
        pretrained.measure_pretrained(self.shop, system, side, self.pipelines, sheet)

    def _embedded_network(self) -> None:
        measure_network(self.shop, embedded_network(self.shop, self.shop.sizes.batch))

    def _pretrained_network(self) -> None:
        measure_network(self.shop, pretrained_network(self.shop, self.architecture, self.shop.sizes.pretrained_batch))

    def _sheet(self, name: str, title: str) -> Sheet:
        return Sheet(self.shop.record.folder / f"{name}.png", title)


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    budget, sizes = Budget(given.seconds), SMALL if given.small else REAL
    device = choose_device(given.device)
    record = Record(given.out, f"Measured on {describe_device(device)}, {os.cpu_count()} processor cores")
    with tempfile.TemporaryDirectory() as work, _kept_warnings(record):
        photographs = given.inputs or make_photographs(Path(work) / "photographs", sizes.side)
        fix_arithmetic(embedded_params(photographs, sizes))
        shop = Shop(record, sizes, device, photographs, Path(work))
        systems = given.systems.split(",") if given.systems else embedded.ORDER
        parts = given.only.split(",") if given.only else PARTS
        jobs = [job for job in Jobs(shop, systems, given.small).listed() if job.part in parts]
        for job in _in_turn(jobs, budget, record):
            _attempt(job, budget, record)
            forget_peak(device)
    record.finish(budget.elapsed)


@contextmanager
def _kept_warnings(record: Record) -> Iterator[None]:
    """Above all of operations that give other bits each time."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: record.warn(str(message).split("\n")[0])
        yield


def _in_turn(jobs: Sequence[Job], budget: Budget, record: Record) -> Iterator[Job]:
    """The jobs that still fit: those whose time is over come last, and only if there is some left."""
    late = []
    for job in jobs:
        if budget.until(job.until) > _SHORTEST:
            yield job
        else:
            late.append(job)
    for job in late:
        if budget.until(1.0) > _SHORTEST:
            yield job
        else:
            record.leave_out(job.name, "no time left")


def _attempt(job: Job, budget: Budget, record: Record) -> None:
    """What one part fails of costs no other its rows."""
    print(f"[{budget.elapsed:.0f} s] {job.name}", flush=True)
    try:
        with limited(min(budget.until(1.0), max(_LONGEST, budget.until(job.until)))):
            job.run()
    except Exception as error:
        record.fail(job.name, error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--inputs", type=Path, help="a category's folder")
    parser.add_argument("--seconds", type=float, default=480.0, help="in which all is to be done")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a processor")
    parser.add_argument("--only", default="", help=f"parts with commas between, of {', '.join(PARTS)}")
    parser.add_argument("--systems", default="", help="names with commas between; by default all")
    parser.add_argument("--device", default="", help="by default the best there is")
    return parser


if __name__ == "__main__":
    main()
