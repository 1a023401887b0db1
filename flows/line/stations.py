"""The stations of a shard as Prefect tasks: masks -> paint -> adapt -> score -> pack.

In: a shard's plan. Out: the shard on disk, with its done-marker. What one station hands to the next stays in this
process; a run's graph shows each with its seconds. `paint`, `adapt` and `score` are the model's path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from flows.line.timing import Clock
from flows.policy import station
from tasks.candidates.write import write_shard
from tasks.contracts import ShardPlan
from tasks.generation import line as stations
from tasks.generation.line import Drawn, Finished, Line, ScoredPlaces
from tasks.generation.portfolio import PaintedViews
from tasks.inputs.dataset import read_inputs
from tasks.params import Params
from tasks.plan import plan_shards
from tasks.workspace import Workspace

MODEL_STATIONS = ("paint", "adapt", "score")
STATIONS = ("masks", *MODEL_STATIONS, "pack")


class Run:
    """A workspace's line, its clock, and what is done with each shard once it is finished here."""

    def __init__(self, params: Params, workspace: Workspace, device: torch.device) -> None:
        self.clock = Clock()
        self.params, self.candidates = params, workspace.candidates
        self.line = Line(params, read_inputs(workspace.inputs), workspace.models, device)
        self.deliver: Callable[[ShardPlan], None] = lambda plan: None
        self.opening_seconds = self.clock.elapsed

    @cached_property
    def plans(self) -> tuple[ShardPlan, ...]:
        return plan_shards(self.params, self.line.inputs, self.line.portfolio.sha256)


@dataclass(frozen=True)
class DrawnShard:
    """A shard's samples with their masks."""

    plan: ShardPlan
    drawn: Drawn


@dataclass(frozen=True)
class ScoredShard:
    """A shard whose images are made."""

    plan: ShardPlan
    drawn: Drawn
    scored: ScoredPlaces | None
    """None where no sample has a mask."""


@station("masks {plan.name}")
def masks(run: Run, plan: ShardPlan) -> DrawnShard:
    with run.clock.time(plan.name, "masks"):
        return DrawnShard(plan, stations.masks(run.line, plan.specs))


@station("paint {shard.plan.name}")
def paint(run: Run, shard: DrawnShard) -> list[PaintedViews]:
    with run.clock.time(shard.plan.name, "paint"):
        return stations.paint(run.line, shard.drawn.places)


@station("adapt {shard.plan.name}")
def adapt(run: Run, shard: DrawnShard, painted: list[PaintedViews]) -> Finished:
    with run.clock.time(shard.plan.name, "adapt"):
        return stations.adapt(run.line, shard.drawn.places, painted)


@station("score {shard.plan.name}")
def score(run: Run, shard: DrawnShard, finished: Finished) -> ScoredShard:
    with run.clock.time(shard.plan.name, "score"):
        return ScoredShard(shard.plan, shard.drawn, stations.score(run.line, shard.drawn.places, finished))


@station("pack {shard.plan.name}")
def pack(run: Run, shard: ScoredShard) -> None:
    """Encode and write the shard, its done-marker last; send it to where it is waited for."""
    plan, scored = shard.plan, shard.scored
    with run.clock.time(plan.name, "pack"):
        made = stations.candidates(run.line, scored, _model_seconds(run, shard)) if scored else []
        write_shard(run.candidates, plan, made, shard.drawn.failures)
    if made:
        run.deliver(plan)


def _model_seconds(run: Run, shard: ScoredShard) -> float:
    """An image."""
    seconds = run.clock.shards[shard.plan.name]
    return sum(seconds.get(name, 0.0) for name in MODEL_STATIONS) / len(shard.drawn.places)
