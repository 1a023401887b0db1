"""Generate: every planned shard that is not done yet is painted, scored and written.

In: inputs and models. Out: the candidates. The model works on one shard at a time while the next one's masks are drawn
and the previous one is written behind it; there is never more than one ahead and one behind, so memory stays bounded.
Killed anywhere, it goes on with the first shard that has no done-marker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from prefect import flow
from prefect.futures import PrefectFuture

from flows import policy
from flows.line.lock import exclusive
from flows.line.stage import run_stage
from flows.line.stations import (
    MODEL_STATIONS,
    STATIONS,
    DrawnShard,
    Run,
    ScoredShard,
    adapt,
    masks,
    pack,
    paint,
    score,
)
from flows.line.timing import peak_memory
from flows.terminal import progress
from tasks.candidates.files import shard_files
from tasks.candidates.read import is_finished, read_marker, read_scores
from tasks.candidates.sweep import sweep_stale
from tasks.candidates.write import write_shard
from tasks.contracts import DefectoryError, Failure, ShardPlan
from tasks.params import load_params
from tasks.plan import WHOLE_PLAN, Part
from tasks.progress import Report
from tasks.quality.real_descriptors import write_real_descriptors
from tasks.workspace import PARAMS, ROOT, Workspace


@dataclass(frozen=True)
class GenerateReport:
    """What a run has made; the samples of earlier runs are not in it."""

    shards: int
    samples: int
    lost: dict[str, str]
    """The shards that could not be made, and why."""


@flow(name="generate", task_runner=policy.background(), persist_result=False)
@exclusive
def generate(params: Path = PARAMS, root: Path = ROOT, part: Part = WHOLE_PLAN) -> GenerateReport:
    """Make what is missing of the plan, or of a part of it.

    Raises DefectoryError when too large a share of it could not be made.
    """
    workspace = Workspace(root)
    run = Run(load_params(params), workspace, policy.device())
    if part == WHOLE_PLAN:  # beside others, what looks stale may be what they are writing
        sweep_stale(run.candidates, run.plans)
        write_real_descriptors(run.line.inputs, run.candidates, run.line.device)
    return make_missing(run, workspace, part.of(run.plans))


def make_missing(run: Run, workspace: Workspace, plans: Sequence[ShardPlan]) -> GenerateReport:
    """Make those of these shards that are not finished. Raises as `generate` does; only these shards count."""
    missing = [plan for plan in plans if not is_finished(run.candidates, plan)]
    if not missing:
        return GenerateReport(0, 0, {})
    with progress() as report:
        counter = _Counter(plans, missing, report)
        lost = dict(_make(run, missing, counter))
        lost = dict(_make(run, list(lost), counter))
    for plan, error in lost.items():
        write_shard(run.candidates, plan, [], [Failure(spec, "generate", error) for spec in plan.specs])
    _record(run, workspace)
    _check_failures(run, plans)
    return GenerateReport(len(missing), sum(len(plan.specs) for plan in missing), {p.name: e for p, e in lost.items()})


def _make(run: Run, plans: Sequence[ShardPlan], counter: _Counter) -> Iterator[tuple[ShardPlan, str]]:
    """Run the shards through the stations; yields those that the model's path could not make, and why."""
    behind: PrefectFuture[None] | None = None
    for plan, ahead in _drawn_ahead(run, plans):
        try:
            scored = _model_path(run, ahead.result())
        except Exception as error:  # whatever one shard dies of, the others must not
            yield plan, _reason(error)
            continue
        if behind is not None:
            behind.result()  # a shard that cannot be written ends the run: the next one would not fit either
        behind = pack.submit(run, scored)
        counter.add(len(plan.specs))
    if behind is not None:
        behind.result()


def _drawn_ahead(run: Run, plans: Sequence[ShardPlan]) -> Iterator[tuple[ShardPlan, PrefectFuture[DrawnShard]]]:
    """Each shard with its masks, while those of the next one are being drawn."""
    ahead = masks.submit(run, plans[0]) if plans else None
    for plan, following in zip_longest(plans, plans[1:]):
        assert ahead is not None
        drawn, ahead = ahead, masks.submit(run, following) if following else None
        yield plan, drawn


def _model_path(run: Run, shard: DrawnShard) -> ScoredShard:
    if not shard.drawn.places:
        return ScoredShard(shard.plan, shard.drawn, None)
    return score(run, shard, adapt(run, shard, paint(run, shard)))


class _Counter:
    """Reports samples, counting those that earlier runs have made."""

    def __init__(self, plans: Sequence[ShardPlan], missing: Sequence[ShardPlan], report: Report) -> None:
        self._total = sum(len(plan.specs) for plan in plans)
        self._done = self._total - sum(len(plan.specs) for plan in missing)
        self._report = report
        self.add(0)

    def add(self, samples: int) -> None:
        self._done += samples
        self._report("painting samples", self._done, self._total)


def _reason(error: Exception) -> str:
    if isinstance(error, DefectoryError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def _record(run: Run, workspace: Workspace) -> None:
    """Keep seconds by station and shard beside the data; those of shards that earlier runs made stay."""
    earlier = workspace.read_timings("generate").get("shards", {})
    now = {name: {**seconds, "samples": _samples(run, name)} for name, seconds in run.clock.shards.items()}
    planned = {plan.name for plan in run.plans}
    record = {
        "wall_seconds": run.clock.elapsed,
        "opening_seconds": run.opening_seconds,
        "model_seconds": run.clock.total(*MODEL_STATIONS),
        "station_seconds": {station: run.clock.total(station) for station in STATIONS},
        "peak_memory_bytes": peak_memory(),
        "shards": {name: seconds for name, seconds in (earlier | now).items() if name in planned},
    }
    workspace.write_timings("generate", record)


def _samples(run: Run, name: str) -> int:
    return next(len(plan.specs) for plan in run.plans if plan.name == name)


def _check_failures(run: Run, plans: Sequence[ShardPlan]) -> None:
    limit = run.params.select.max_failed_share
    markers = [read_marker(shard_files(run.candidates, plan).marker) for plan in plans]
    failed = sum(marker.failed for marker in markers if marker)
    planned = sum(len(plan.specs) for plan in plans)
    if failed > limit * planned:
        raise DefectoryError(
            f"{failed} of {planned} samples could not be made, more than select.max_failed_share = {limit:g} allows; "
            f"the first reason: {_first_error(run, plans)}; "
            "`defectory status` lists them, `defectory resume` tries again"
        )


def _first_error(run: Run, plans: Sequence[ShardPlan]) -> str:
    errors = read_scores(run.candidates, plans, ["error"])["error"].dropna()
    return str(errors.iloc[0])


if __name__ == "__main__":
    run_stage(generate, "Paint, score and write every planned shard that is not done yet.")
