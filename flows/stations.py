"""The stations of a shard as Prefect tasks: masks -> paint -> adapt -> score -> pack.

In: a shard's plan. Out: the shard on disk, with its done-marker. What one station hands to the next stays in this
process; a run's graph shows each with its seconds. `paint`, `adapt` and `score` are the model's path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from flows.policy import device, station
from flows.timing import Clock
from flows.workspace import Workspace
from tasks.arithmetic import fix_arithmetic
from tasks.contracts import Candidate, DefectoryError, Failure, Image, Place, ShardPlan
from tasks.diffusion.pretrained import prompt_of
from tasks.inputs.store import Inputs, read_inputs
from tasks.masks.draw import draw_mask
from tasks.masks.learned import all_references
from tasks.params import Params
from tasks.plan import plan_shards
from tasks.quality.scores import Scorer, Scores
from tasks.shards.write import write_shard
from tasks.synthesis.portfolio import PaintedViews, Portfolio

MODEL_STATIONS = ("paint", "adapt", "score")
STATIONS = ("masks", *MODEL_STATIONS, "pack")


class Line:
    """What all stations share."""

    def __init__(self, params: Params, workspace: Workspace, inputs: Inputs | None = None) -> None:
        """`inputs` are those of the workspace, where they have been read already."""
        fix_arithmetic(params)
        self.clock = Clock()
        self.params = params
        self.candidates = workspace.candidates
        self.inputs = inputs or read_inputs(workspace.inputs)
        self.references = all_references(self.inputs, workspace.models)
        self.portfolio = Portfolio(self.inputs, params, workspace.models)
        self.deliver: Callable[[ShardPlan], None] = lambda plan: None
        """What is done with each shard once it is finished here."""
        self.opening_seconds = self.clock.elapsed

    @cached_property
    def plans(self) -> tuple[ShardPlan, ...]:
        return plan_shards(self.params, self.inputs, self.portfolio.sha256)

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.params.score, device())


@dataclass(frozen=True)
class DrawnShard:
    """A shard's samples that have a mask, and those that could not be given one."""

    plan: ShardPlan
    places: tuple[Place, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class ScoredShard:
    drawn: DrawnShard
    images: tuple[Image, ...]
    scores: tuple[Scores, ...]


@station("masks {plan.name}")
def masks(line: Line, plan: ShardPlan) -> DrawnShard:
    """Draw every sample's mask; a sample for which none can be placed is a failure of its own."""
    places, failures = [], []
    with line.clock.time(plan.name, "masks"):
        for spec in plan.specs:
            clean = line.inputs.by_id(spec.clean_id)
            try:
                places.append(Place(spec, clean, draw_mask(spec, clean, line.references, line.params.masks)))
            except DefectoryError as error:
                failures.append(Failure(spec, "masks", str(error)))
    return DrawnShard(plan, tuple(places), tuple(failures))


@station("paint {shard.plan.name}")
def paint(line: Line, shard: DrawnShard) -> list[PaintedViews]:
    with line.clock.time(shard.plan.name, "paint"):
        return line.portfolio.paint(shard.places)


@station("adapt {shard.plan.name}")
def adapt(line: Line, shard: DrawnShard, painted: list[PaintedViews]) -> list[Image]:
    """Adapt the decoder to the clean images and paste what it decodes into them."""
    with line.clock.time(shard.plan.name, "adapt"):
        return line.portfolio.finish(shard.places, painted)


@station("score {shard.plan.name}")
def score(line: Line, shard: DrawnShard, images: list[Image]) -> ScoredShard:
    with line.clock.time(shard.plan.name, "score"):
        cleans, shapes = [place.clean.image for place in shard.places], [place.mask for place in shard.places]
        scores = line.scorer.score(images, cleans, shapes, line.params.adapt.feather)
    return ScoredShard(shard, tuple(images), tuple(scores))


@station("pack {shard.drawn.plan.name}")
def pack(line: Line, shard: ScoredShard) -> None:
    """Encode and write the shard, its done-marker last; send it to where it is waited for."""
    plan = shard.drawn.plan
    with line.clock.time(plan.name, "pack"):
        candidates = [_candidate(line, shard, number) for number in range(len(shard.images))]
        write_shard(line.candidates, plan, candidates, shard.drawn.failures)
    if candidates:
        line.deliver(plan)


def _candidate(line: Line, shard: ScoredShard, number: int) -> Candidate:
    place, scores = shard.drawn.places[number], shard.scores[number]
    spec, clean = place.spec, place.clean
    seconds = line.clock.shards[shard.drawn.plan.name]
    return Candidate(
        spec=spec,
        image=shard.images[number],
        mask=place.mask,
        effective_mask=scores.effective_mask,
        reference_id=place.drawn.reference_id,
        clean_sha256=clean.sha256,
        license=clean.license,
        source=clean.source,
        prompt=prompt_of(line.params.paint.prompt, spec.category, spec.defect_type),
        model_sha256=line.portfolio.sha256,
        seconds=sum(seconds.get(name, 0.0) for name in MODEL_STATIONS) / len(shard.images),
        scores=scores.values,
        logits=scores.logits,
        descriptor=scores.descriptor,
    )
