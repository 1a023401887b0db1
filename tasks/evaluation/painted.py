"""Arms that synthesis systems paint: the release's own planned samples, without a release.

In: inputs and params, whose `paint.systems` may be one system alone. Out: examples that passed the same selection. A
baseline is painted in its published form, with mask sources of its own where its block in params has some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from tasks.contracts import DefectoryError, Image, Place, Verdict
from tasks.evaluation.contracts import Example
from tasks.evaluation.examples import synthetic
from tasks.inputs.store import Inputs
from tasks.masks.draw import draw_mask
from tasks.masks.learned import all_references
from tasks.params import Params
from tasks.plan import plan_samples
from tasks.progress import Report
from tasks.quality.scores import Scorer, Scores
from tasks.quality.select import select
from tasks.shards.ledger import ACCEPTED
from tasks.synthesis.portfolio import Portfolio, fit_systems

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


def draw_places(inputs: Inputs, params: Params, models: Path) -> list[Place]:
    """The places of all planned samples for which a mask can be drawn."""
    references = all_references(inputs, models)
    places = []
    for spec in plan_samples(params, inputs):
        clean = inputs.by_id(spec.clean_id)
        try:
            places.append(Place(spec, clean, draw_mask(spec, clean, references, params.masks)))
        except DefectoryError:
            continue  # the ledger of a release names it; an arm goes without
    return places


def painted_by(
    name: str, inputs: Inputs, params: Params, models: Path, scorer: Scorer, report: Report
) -> dict[str, tuple[Example, ...]]:
    """By category, the accepted ones of `evaluate.samples` planned samples, whose origin is `name`.

    Fits the systems first where needed.
    """
    wanted = as_many(params)
    fit_systems(inputs, wanted, models, report)
    portfolio = Portfolio(inputs, wanted, models)
    places = draw_places(inputs, wanted, models)
    images: list[Image] = []
    scores: list[Scores] = []
    for start in range(0, len(places), _SHARD):
        part = places[start : start + _SHARD]
        made = portfolio.finish(part, portfolio.paint(part))
        cleans, masks = [place.clean.image for place in part], [place.mask for place in part]
        scores += scorer.score(made, cleans, masks, params.adapt.feather)
        images += made
        report(f"painting {name}", len(images), len(places))
    return _accepted(name, places, images, scores, params)


def verdicts_of(places: Sequence[Place], scores: Sequence[Scores], params: Params) -> list[Verdict]:
    """What selection says of painted places, in their order."""
    rows = [
        {**asdict(place.spec), **score.values, "descriptor": score.descriptor}
        for place, score in zip(places, scores, strict=True)
    ]
    return select(pd.DataFrame(rows), params.select)


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
