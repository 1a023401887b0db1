"""Arms that synthesis systems paint: the release's own planned samples, without a release.

In: inputs and params, whose `paint.systems` may be one system alone. Out: examples that passed the same selection. A
baseline is painted in its published form, with mask sources of its own where its block in params has some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from tasks.contracts import Image, Place, Verdict
from tasks.detectors.protocol import Example
from tasks.evaluation.examples import synthetic
from tasks.generation.line import Line, make, masks
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.plan import plan_samples
from tasks.progress import Report
from tasks.quality.scores import Scorer, Scores
from tasks.quality.select import row_verdicts
from tasks.release.manifest import ACCEPTED
from tasks.synthesis.fitting import fit_systems

BASELINES = ("cutpaste", "crop_paste", "draem")
"""What anybody can have in milliseconds an image: systems without a network."""
_SHARD = 24
"""Places painted and scored at a time: bounds the memory."""


def only(params: Params, system: str) -> Params:
    """The params with one system."""
    paint = params.paint.model_copy(update={"systems": {system: 1.0}})
    return params.model_copy(update={"paint": paint})


def as_many(params: Params) -> Params:
    """The params with `evaluate.samples` samples a category."""
    dataset = params.dataset.model_copy(update={"samples_per_category": params.evaluate.samples})
    return params.model_copy(update={"dataset": dataset})


def painted_by(
    name: str, inputs: Inputs, params: Params, models: Path, scorer: Scorer, device: torch.device, report: Report
) -> dict[str, tuple[Example, ...]]:
    """By category, the accepted ones of `evaluate.samples` planned samples, whose origin is `name`.

    Fits the systems first where needed.
    """
    wanted = as_many(params)
    fit_systems(inputs, wanted, models, device, report)
    line = Line(wanted, inputs, models, device, scorer)
    places = masks(line, plan_samples(wanted, inputs)).places  # a release's ledger names failures; an arm goes without
    images: list[Image] = []
    scores: list[Scores] = []
    for start in range(0, len(places), _SHARD):
        made = make(line, places[start : start + _SHARD])
        images += made.finished.images
        scores += made.scores
        report(f"painting {name}", len(images), len(places))
    return _accepted(name, places, images, scores, params)


def verdicts_of(places: Sequence[Place], scores: Sequence[Scores], params: Params) -> list[Verdict]:
    """What selection says of painted places, in their order."""
    rows = [
        {**asdict(place.spec), **score.values, "descriptor": score.descriptor}
        for place, score in zip(places, scores, strict=True)
    ]
    return row_verdicts(pd.DataFrame(rows), params.select)


def _accepted(
    name: str, places: Sequence[Place], images: Sequence[Image], scores: Sequence[Scores], params: Params
) -> dict[str, tuple[Example, ...]]:
    verdicts = verdicts_of(places, scores, params)
    arms: dict[str, list[Example]] = {}
    for place, image, score, verdict in zip(places, images, scores, verdicts, strict=True):
        if verdict.status == ACCEPTED:
            spec = place.spec
            example = synthetic(
                f"{name}/{spec.sample_id}",
                image,
                score.effective_mask,
                spec.defect_type,
                name,
                params.evaluate.image_size,
            )
            arms.setdefault(spec.category, []).append(example)
    return {category: tuple(examples) for category, examples in arms.items()}
