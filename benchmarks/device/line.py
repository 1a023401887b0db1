"""The line of one dataset without a scheduler around it, its stations timed.

As in a run, the model works on one shard while the next one's masks are drawn and the previous one is written.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from tasks.candidates.write import write_shard
from tasks.contracts import Image, Place, ShardPlan
from tasks.generation import line
from tasks.generation.line import Drawn, Finished, Line, ScoredPlaces
from tasks.generation.portfolio import PaintedViews
from tasks.inputs.dataset import Inputs
from tasks.networks.device import wait_for
from tasks.params import Params
from tasks.quality.scores import Scorer

MODEL_STATIONS = ("paint", "adapt", "score")
STATIONS = ("masks", *MODEL_STATIONS, "pack")


class TimedLine:
    """The stations of one system, the seconds they took, and what they made."""

    def __init__(
        self, inputs: Inputs, params: Params, models: Path, scorer: Scorer, out: Path, device: torch.device
    ) -> None:
        """Reads the models that were fitted; shards are written below `out`."""
        self.line, self.out = Line(params, inputs, models, device, scorer), out
        self.seconds: dict[str, float] = defaultdict(float)
        self.places: dict[str, Sequence[Place]] = {}
        self.images: dict[str, Sequence[Image]] = {}
        self._lock = threading.Lock()

    def run(self, plans: Sequence[ShardPlan]) -> float:
        """Make the shards; returns the seconds from the first mask to the last file. Earlier seconds are forgotten."""
        self.seconds.clear()
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as beside:
            behind: list[Future[None]] = []
            for plan, drawn in self._drawn_ahead(plans, beside):
                scored = self.score(drawn.places, self.adapt(drawn.places, self.paint(drawn.places)))
                self.places[plan.name], self.images[plan.name] = drawn.places, scored.finished.images
                for written in behind:
                    written.result()
                behind = [beside.submit(self._pack, plan, drawn, scored)]
            for written in behind:
                written.result()
        return time.perf_counter() - start

    def _drawn_ahead(self, plans: Sequence[ShardPlan], beside: ThreadPoolExecutor) -> Iterator[tuple[ShardPlan, Drawn]]:
        ahead = [beside.submit(self.drawn, plan) for plan in plans[:1]]
        for number, plan in enumerate(plans, start=1):
            drawn = ahead.pop().result()
            ahead += [beside.submit(self.drawn, following) for following in plans[number : number + 1]]
            yield plan, drawn

    def drawn(self, plan: ShardPlan) -> Drawn:
        with self._timed("masks"):
            return line.masks(self.line, plan.specs)

    def paint(self, places: Sequence[Place]) -> list[PaintedViews]:
        with self._timed("paint"):
            return line.paint(self.line, places)

    def adapt(self, places: Sequence[Place], painted: Sequence[PaintedViews]) -> Finished:
        with self._timed("adapt"):
            return line.adapt(self.line, places, painted)

    def score(self, places: Sequence[Place], finished: Finished) -> ScoredPlaces:
        with self._timed("score"):
            return line.score(self.line, places, finished)

    def _pack(self, plan: ShardPlan, drawn: Drawn, scored: ScoredPlaces) -> None:
        with self._timed("pack"):
            write_shard(self.out, plan, line.candidates(self.line, scored, seconds=0.0), drawn.failures)

    @contextmanager
    def _timed(self, station: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if station in MODEL_STATIONS:
            wait_for(self.line.device)
        with self._lock:
            self.seconds[station] += time.perf_counter() - start
