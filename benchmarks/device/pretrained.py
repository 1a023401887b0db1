"""The project's systems on the full architecture of Stable Diffusion 1.5: training, painting, adapting, memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.device.recipes import batch_of, only, pretrained
from benchmarks.device.sheet import Sheet
from benchmarks.device.shop import Shop, fit
from benchmarks.device.timing import forget_peak, peak_memory_gib, seconds_of
from tasks.contracts import Image, Place
from tasks.generation.line import draw_places
from tasks.generation.portfolio import PaintedViews, Portfolio
from tasks.params import Params
from tasks.quality.scores import Scorer

ORDER = ("adabldm", "anomalydiffusion", "inpaint_lora", "sdas", "anomalyany")
"""The most important first."""
_STEPS_TO_WARM_UP = 2


def measure_pretrained(shop: Shop, system: str, side: int, pipelines: Path, sheet: Sheet) -> None:
    """A row of the table `pretrained`, one of `training` for what is trained, and a column."""
    batch = batch_of(system, shop.sizes)
    params = only(pretrained(shop.photographs, shop.sizes, side, pipelines, system), system, 2 * batch)
    networks = f"Stable Diffusion 1.5, {side} px"
    fitted = fit(shop, networks, params)
    opened: list[Portfolio] = []
    load = seconds_of(shop.device, lambda: opened.append(Portfolio(fitted.inputs, params, fitted.models, shop.device)))
    run = _Painting(shop, opened[0], Scorer(params.score, shop.device), params, system)
    places = draw_places(fitted.inputs, params, fitted.models)[:batch]
    run.warm_up(places)
    row = {"networks": networks, "system": system, **run.rates(places)}
    costs = {"fit (s)": fitted.seconds, "load (s)": load, "memory, training (GiB)": fitted.peak_memory_gib}
    shop.record.add("pretrained", row | costs | {"memory, line (GiB)": peak_memory_gib(shop.device)})
    sheet.add(system, places, run.images)


class _Painting:
    """One batch of places, station by station."""

    def __init__(self, shop: Shop, portfolio: Portfolio, scorer: Scorer, params: Params, system: str) -> None:
        self.shop, self.portfolio, self.scorer, self.params, self.system = shop, portfolio, scorer, params, system
        self.parts: list[PaintedViews] = []
        self.images: list[Image] = []

    def warm_up(self, places: Sequence[Place]) -> None:
        """All that is done but once, with few steps."""
        own = self.params.system(self.system).model_copy(update={"steps": _STEPS_TO_WARM_UP})
        self.portfolio.params = self.params.model_copy(update={self.system: own})
        self._paint(places)
        self._adapt(places)
        self._score(places)
        self.portfolio.params = self.params
        forget_peak(self.shop.device)

    def rates(self, places: Sequence[Place]) -> dict[str, Any]:
        stations = {"paint": self._paint, "adapt": self._adapt, "score": self._score}
        found: dict[str, Any] = {"at once": len(places), "steps": cast(Any, self.params.system(self.system)).steps}
        for name, work in stations.items():
            seconds = seconds_of(self.shop.device, partial(work, places))
            found[f"{name} (images/s)"] = len(places) / seconds
        return found

    def _paint(self, places: Sequence[Place]) -> None:
        self.parts = self.portfolio.paint(places)

    def _adapt(self, places: Sequence[Place]) -> None:
        self.images = self.portfolio.finish(places, self.parts)

    def _score(self, places: Sequence[Place]) -> None:
        cleans, masks = [place.clean.image for place in places], [place.mask for place in places]
        self.scorer.score(self.images, cleans, masks, self.params.adapt.feather)
