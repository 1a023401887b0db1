"""The line of one dataset without a scheduler around it: masks -> paint -> adapt -> score -> pack.

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
from tasks.contracts import Candidate, DefectoryError, Failure, Image, Place, ShardPlan
from tasks.generation.portfolio import PaintedViews, Portfolio
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import draw_mask
from tasks.masks.learned import all_references
from tasks.networks.device import wait_for
from tasks.params import Params
from tasks.quality.scores import Scorer, Scores

MODEL_STATIONS = ("paint", "adapt", "score")
STATIONS = ("masks", *MODEL_STATIONS, "pack")

Drawn = tuple[list[Place], list[Failure]]


class Line:
    """What the stations of one system share, the seconds they took, and what they made."""

    def __init__(
        self, inputs: Inputs, params: Params, models: Path, scorer: Scorer, out: Path, device: torch.device
    ) -> None:
        """Reads the models that were fitted; shards are written below `out`."""
        self.inputs, self.params, self.scorer, self.out, self.device = inputs, params, scorer, out, device
        self.portfolio = Portfolio(inputs, params, models, device)
        self.references = all_references(inputs, models)
        self.seconds: dict[str, float] = defaultdict(float)
        self.places: dict[str, list[Place]] = {}
        self.images: dict[str, list[Image]] = {}
        self._lock = threading.Lock()

    def run(self, plans: Sequence[ShardPlan]) -> float:
        """Make the shards; returns the seconds from the first mask to the last file. Earlier seconds are forgotten."""
        self.seconds.clear()
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as beside:
            behind: list[Future[None]] = []
            for plan, (places, failures) in self._drawn_ahead(plans, beside):
                images = self.adapt(places, self.paint(places))
                scores = self.score(places, images)
                self.places[plan.name], self.images[plan.name] = places, images
                for written in behind:
                    written.result()
                behind = [beside.submit(self.pack, plan, places, failures, images, scores)]
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
        places, failures = [], []
        with self._timed("masks"):
            for spec in plan.specs:
                clean = self.inputs.by_id(spec.clean_id)
                try:
                    places.append(Place(spec, clean, draw_mask(spec, clean, self.references, self.params.masks)))
                except DefectoryError as error:
                    failures.append(Failure(spec, "masks", str(error)))
        return places, failures

    def paint(self, places: Sequence[Place]) -> list[PaintedViews]:
        with self._timed("paint"):
            return self.portfolio.paint(places)

    def adapt(self, places: Sequence[Place], painted: list[PaintedViews]) -> list[Image]:
        with self._timed("adapt"):
            return self.portfolio.finish(places, painted)

    def score(self, places: Sequence[Place], images: list[Image]) -> list[Scores]:
        with self._timed("score"):
            cleans, masks = [place.clean.image for place in places], [place.mask for place in places]
            return self.scorer.score(images, cleans, masks, self.params.adapt.feather)

    def pack(
        self,
        plan: ShardPlan,
        places: Sequence[Place],
        failures: list[Failure],
        images: list[Image],
        scores: list[Scores],
    ) -> None:
        with self._timed("pack"):
            made = [candidate_of(*each) for each in zip(places, images, scores, strict=True)]
            write_shard(self.out, plan, made, failures)

    @contextmanager
    def _timed(self, station: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if station in MODEL_STATIONS:
            wait_for(self.device)
        with self._lock:
            self.seconds[station] += time.perf_counter() - start


def candidate_of(place: Place, image: Image, scores: Scores) -> Candidate:
    """What is written of a sample."""
    return Candidate(
        spec=place.spec,
        image=image,
        mask=place.mask,
        effective_mask=scores.effective_mask,
        reference_id=place.drawn.reference_id,
        clean_sha256=place.clean.sha256,
        license=place.clean.license,
        source=place.clean.source,
        prompt="",
        model_sha256="",
        seconds=0.0,
        scores=scores.values,
        logits=scores.logits,
        descriptor=scores.descriptor,
    )
