"""The line: masks -> paint -> adapt -> score -> candidates, as plain functions.

In: planned samples. Out: what is kept of each, or why it failed. The flows decorate these functions as Prefect tasks;
remaking an image and the evaluation's painted arms call them as they are. Painting looks at a magnified view of a small
defect; adapting puts it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from tasks.contracts import Candidate, DefectoryError, Failure, Image, Place, ReferenceMask, SampleSpec
from tasks.generation.portfolio import PaintedViews, Portfolio
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import draw_mask
from tasks.masks.learned import all_references
from tasks.networks.arithmetic import fix_arithmetic
from tasks.params import Params
from tasks.plan import plan_samples
from tasks.quality.scores import Scorer, Scores


class Line:
    """What all stations share: the dataset, its fitted systems and the scorer, on one device."""

    def __init__(
        self, params: Params, inputs: Inputs, models: Path, device: torch.device, scorer: Scorer | None = None
    ) -> None:
        """`scorer` is one that is there already. Raises DefectoryError where training has not finished."""
        fix_arithmetic(params)
        self.params, self.inputs, self.device = params, inputs, device
        self.references = all_references(inputs, models)
        self.portfolio = Portfolio(inputs, params, models, device)
        self._given = scorer

    @cached_property
    def scorer(self) -> Scorer:
        return self._given or Scorer(self.params.score, self.device)


@dataclass(frozen=True)
class Drawn:
    """Samples that have a mask, and those that could not be given one."""

    places: tuple[Place, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Finished:
    """Whole images, one a place."""

    images: tuple[Image, ...]
    prompts: tuple[str, ...]
    """What each one's system was told; empty for one that reads no text."""


@dataclass(frozen=True)
class ScoredPlaces:
    places: tuple[Place, ...]
    finished: Finished
    scores: tuple[Scores, ...]


def masks(line: Line, specs: Sequence[SampleSpec]) -> Drawn:
    """Draw every sample's mask; a sample for which none can be placed is a failure of its own."""
    return _drawn(specs, line.inputs, line.references, line.params)


def draw_places(inputs: Inputs, params: Params, models: Path) -> tuple[Place, ...]:
    """The places of all planned samples for which a mask can be drawn; no system need be fitted."""
    return _drawn(plan_samples(params, inputs), inputs, all_references(inputs, models), params).places


def _drawn(specs: Sequence[SampleSpec], inputs: Inputs, references: Sequence[ReferenceMask], params: Params) -> Drawn:
    places, failures = [], []
    for spec in specs:
        clean = inputs.by_id(spec.clean_id)
        try:
            places.append(Place(spec, clean, draw_mask(spec, clean, references, params.masks)))
        except DefectoryError as error:
            failures.append(Failure(spec, "masks", str(error)))
    return Drawn(tuple(places), tuple(failures))


def paint(line: Line, places: Sequence[Place]) -> list[PaintedViews]:
    return line.portfolio.paint(places)


def adapt(line: Line, places: Sequence[Place], painted: Sequence[PaintedViews]) -> Finished:
    """Adapt the decoders to the clean images, paste what they decode into them, and put views back."""
    images = line.portfolio.finish(places, painted)
    prompts = {number: prompt for part in painted for number, prompt in part.prompts()}
    return Finished(tuple(images), tuple(prompts[number] for number in range(len(places))))


def score(line: Line, places: Sequence[Place], finished: Finished) -> ScoredPlaces:
    cleans, shapes = [place.clean.image for place in places], [place.mask for place in places]
    scores = line.scorer.score(finished.images, cleans, shapes, line.params.adapt.feather)
    return ScoredPlaces(tuple(places), finished, tuple(scores))


def make(line: Line, places: Sequence[Place]) -> ScoredPlaces:
    """From masks to scores at once."""
    return score(line, places, adapt(line, places, paint(line, places)))


def candidates(line: Line, scored: ScoredPlaces, seconds: float) -> list[Candidate]:
    """What is kept of each sample; `seconds` are those of the networks, an image."""
    rows = zip(scored.places, scored.finished.images, scored.finished.prompts, scored.scores, strict=True)
    return [
        Candidate(
            spec=place.spec,
            image=image,
            mask=place.mask,
            effective_mask=scores.effective_mask,
            reference_id=place.drawn.reference_id,
            clean_sha256=place.clean.sha256,
            license=place.clean.license,
            source=place.clean.source,
            prompt=prompt,
            model_sha256=line.portfolio.sha256,
            seconds=seconds,
            scores=scores.values,
            logits=scores.logits,
            descriptor=scores.descriptor,
        )
        for place, image, prompt, scores in rows
    ]
