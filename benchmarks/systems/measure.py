"""One system on the benchmark's samples: fit, paint, score, select.

All systems are given the same places. A sample's clean image, defect type and mask come from its address alone, so they
are equal once every system draws its masks from the sources of the `masks` block; the strength is each system's own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.systems.results import SystemResult
from benchmarks.systems.training import timed, training_of
from tasks.contracts import TRAIN, Image, Place
from tasks.evaluation.painted import verdicts_of
from tasks.generation.line import draw_places
from tasks.generation.portfolio import Portfolio
from tasks.inputs.dataset import Inputs
from tasks.params import Params, fingerprint
from tasks.progress import Report
from tasks.quality.ic_lpips import PROTOCOLS, ic_lpips
from tasks.quality.inception_score import inception_score
from tasks.quality.scores import Scorer, Scores
from tasks.release.manifest import ACCEPTED
from tasks.synthesis.fitting import fit_systems


@dataclass(frozen=True)
class Bench:
    """What all systems share."""

    inputs: Inputs
    params: Params
    """Of the dataset."""
    workdir: Path
    """Of the models."""
    samples: int
    """A category."""
    protocol: str
    """Of IC-LPIPS: a key of `PROTOCOLS`."""
    device: torch.device
    report: Report

    def params_of(self, system: str) -> Params:
        """The params with one system, masks from the common sources, and so many samples."""
        dataset = self.params.dataset.model_copy(update={"samples_per_category": self.samples})
        paint = self.params.paint.model_copy(update={"systems": {system: 1.0}})
        own = self.params.system(system).model_copy(update={"masks": {}})
        return self.params.model_copy(update={"dataset": dataset, "paint": paint, system: own})

    def failure(self, system: str, reason: str) -> SystemResult:
        """The row of a system that could not be measured."""
        return SystemResult(system, "", self.params.system(system).strength, error=reason)


def places_sha256(places: Sequence[Place]) -> str:
    """Equal where samples, defect types, clean images and masks are."""
    addresses = [[place.spec.sample_id, place.spec.defect_type, place.spec.clean_id] for place in places]
    return fingerprint(addresses, [hashlib.sha256(np.packbits(place.mask).tobytes()).hexdigest() for place in places])


def measure(bench: Bench, system: str) -> tuple[SystemResult, dict[str, Image]]:
    """Fit the system, paint its samples and measure them; the images by sample id."""
    params = bench.params_of(system)
    with timed(bench.workdir):
        fit_systems(bench.inputs, params, bench.workdir, bench.device, bench.report)
    portfolio = Portfolio(bench.inputs, params, bench.workdir, bench.device)
    places = draw_places(bench.inputs, params, bench.workdir)
    start = time.perf_counter()
    images = portfolio.finish(places, portfolio.paint(places))
    seconds = time.perf_counter() - start
    training_seconds, trained_on = training_of(system, bench.workdir)
    result = SystemResult(
        system=system,
        places_sha256=places_sha256(places),
        strength=params.system(system).strength,
        trained_on=trained_on,
        training_seconds=training_seconds,
        seconds_an_image=seconds / len(places),
        ic_lpips=diversity(places, images, bench.inputs, bench.protocol),
        protocol=bench.protocol,
        **_measured(places, images, params, bench.device),
    )
    return result, {place.spec.sample_id: image for place, image in zip(places, images, strict=True)}


def _measured(places: Sequence[Place], images: Sequence[Image], params: Params, device: torch.device) -> dict[str, Any]:
    """What the line's own scores say of the images."""
    masks, cleans = [place.mask for place in places], [place.clean.image for place in places]
    scores = Scorer(params.score, device).score(images, cleans, masks, params.adapt.feather)
    values = pd.DataFrame([score.values for score in scores])
    visible = values["change_inside"] >= params.select.min_change_inside
    visible &= values["lpips_inside"] >= params.select.min_lpips_inside
    return {
        "inception_score": inception_score(np.stack([score.logits for score in scores]), 1, params.dataset.seed)[0],
        "classifier": params.score.classifier,
        "visible_share": float(visible.mean()),
        "outside_change": float(values["outside_max_abs"].max()),
        "change_inside": float(values["change_inside"].mean()),
        "accepted": count_accepted(places, scores, params),
        "painted": len(places),
    }


def diversity(
    places: Sequence[Place], images: Sequence[Image], inputs: Inputs, protocol: str
) -> dict[str, float | None]:
    """IC-LPIPS of all painted images around the train split's defects, by category and defect type."""
    found: dict[str, float | None] = {}
    for category, defect_type in sorted({(place.spec.category, place.spec.defect_type) for place in places}):
        real = [defect.image for defect in inputs.defects(category, TRAIN, defect_type)]
        pairs = zip(places, images, strict=True)
        own = [
            image for place, image in pairs if (place.spec.category, place.spec.defect_type) == (category, defect_type)
        ]
        value = ic_lpips(own, real, PROTOCOLS[protocol]).value if real else float("nan")
        found[f"{category}/{defect_type}"] = value if np.isfinite(value) else None
    return found


def count_accepted(places: Sequence[Place], scores: Sequence[Scores], params: Params) -> int:
    return sum(verdict.status == ACCEPTED for verdict in verdicts_of(places, scores, params))
