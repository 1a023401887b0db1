"""What all measurements of one size share, and how a system is fitted and timed while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.device.recipes import STEPS
from benchmarks.device.record import Record
from benchmarks.device.sizes import Sizes
from benchmarks.device.timing import StepClock, forget_peak, peak_memory_gib, seconds_of
from benchmarks.setup import read_or_build
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.progress import silent
from tasks.synthesis.fitting import fit_systems


@dataclass(frozen=True)
class Shop:
    """Where a system is measured."""

    record: Record
    sizes: Sizes
    device: torch.device
    photographs: Path
    work: Path
    """For inputs, models and shards."""


@dataclass(frozen=True)
class Fitted:
    """What a fit left, and what it took."""

    inputs: Inputs
    models: Path
    seconds: float
    peak_memory_gib: float | None


def fit(shop: Shop, networks: str, params: Params) -> Fitted:
    """Fit the systems of the params, with a row for each training. `networks` says which, for the row."""
    folder = shop.work / str(params.dataset.image_size)
    models = folder / networks.split(",")[0].replace(" ", "-")
    inputs = read_or_build(params, Path(), folder / "inputs", silent)
    clock = StepClock(shop.device)
    forget_peak(shop.device)
    seconds = seconds_of(shop.device, lambda: fit_systems(inputs, params, models, shop.device, clock))
    for what in clock.seen:
        if what in STEPS:
            row = {"networks": networks, "training": what, "seconds a step": clock.seconds_a_step(what)}
            shop.record.add("training", {**row, "steps timed": clock.steps(what), "steps by default": STEPS[what]})
    return Fitted(inputs, models, seconds, peak_memory_gib(shop.device))
