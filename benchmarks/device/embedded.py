"""The embedded backbones on real photographs: training, every station of the line, memory, and whether bytes repeat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.device.line import MODEL_STATIONS, STATIONS, TimedLine
from benchmarks.device.recipes import embedded, only
from benchmarks.device.sheet import Sheet
from benchmarks.device.shop import Fitted, Shop, fit
from benchmarks.device.timing import Usage, forget_peak, peak_memory_gib, seconds_of
from tasks.contracts import Image
from tasks.params import Params
from tasks.plan import plan_shards
from tasks.quality.scores import Scorer
from tasks.synthesis import system_named

ORDER = (
    "adabldm",
    "anomalydiffusion",
    "inpaint_lora",
    "sdas",
    "anomalyany",
    "vq_transformer",
    "nsa",
    "draem",
    "crop_paste",
    "cutpaste",
)
"""The most important first."""


def measure_embedded(shop: Shop, system: str, sheet: Sheet) -> None:
    """A row of the table `line`, one of `training` for each network that is not trained yet, and a column."""
    params, networks = params_of(shop, system), networks_of(shop)
    fitted = fit(shop, networks, params)
    line = new_line(shop, params, fitted, system)
    plans = plan_shards(params, fitted.inputs, line.line.portfolio.sha256)
    line.run(plans[:1])  # what is done but once is done now
    first = dict(line.images)
    forget_peak(shop.device)
    with Usage(shop.device) as usage:
        wall = line.run(plans)
    repeats = all(_same(images, line.images[name]) for name, images in first.items())
    row = {"networks": networks, "system": system, **_rates(line, wall), "busy": usage.share, "repeats": repeats}
    shop.record.add("line", row | _costs(shop.device, fitted))
    name = plans[0].name
    sheet.add(system, line.places[name], line.images[name])


def measure_batches(shop: Shop) -> None:
    """AdaBLDM's painting by the number of samples at once; the longest list of places is painted by all of them."""
    params = params_of(shop, "adabldm")
    fitted = fit(shop, networks_of(shop), params)
    system = system_named("adabldm")
    model = system.load(fitted.inputs, params, fitted.models, shop.device)
    line = new_line(shop, params, fitted, "batches")
    plans = plan_shards(params, fitted.inputs, line.line.portfolio.sha256)
    places = [place for plan in plans for place in line.drawn(plan).places]
    for batch in shop.sizes.batches:
        some = places[: max(batch, len(places) // 4)]
        at_once = params.model_copy(update={"paint": params.paint.model_copy(update={"batch_size": batch})})
        system.paint(model, some[:batch], at_once)
        forget_peak(shop.device)
        seconds = seconds_of(shop.device, partial(system.paint, model, some, at_once))
        row = {"at once": batch, "paint (images/s)": len(some) / seconds}
        shop.record.add("batches", row | {"memory (GiB)": peak_memory_gib(shop.device)})


def networks_of(shop: Shop) -> str:
    return f"embedded, {shop.sizes.side} px"


def new_line(shop: Shop, params: Params, fitted: Fitted, name: str) -> TimedLine:
    """Whose shards are written to a folder of the name."""
    scorer, out = Scorer(params.score, shop.device), shop.work / "shards" / name
    return TimedLine(fitted.inputs, params, fitted.models, scorer, out, shop.device)


def params_of(shop: Shop, system: str) -> Params:
    """Of a system on the embedded backbones, with the samples of all shards."""
    sizes = shop.sizes
    return only(embedded(shop.photographs, sizes), system, sizes.shards * sizes.shard_size)


def _rates(line: TimedLine, wall: float) -> dict[str, Any]:
    count = sum(len(images) for images in line.images.values())
    rates = {f"{name} (images/s)": count / max(line.seconds[name], 1e-9) for name in STATIONS}
    idle = 1 - sum(line.seconds[name] for name in MODEL_STATIONS) / wall
    return {**rates, "line (images/s)": count / wall, "images": count, "idle": idle}


def _costs(device: torch.device, fitted: Fitted) -> dict[str, Any]:
    return {
        "fit (s)": fitted.seconds,
        "memory, training (GiB)": fitted.peak_memory_gib,
        "memory, line (GiB)": peak_memory_gib(device),
    }


def _same(one: Sequence[Image], other: Sequence[Image]) -> bool:
    return len(one) == len(other) and all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
