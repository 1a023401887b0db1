"""A run on many machines: its parts go to a Prefect work pool, and finished shards are collected as they come.

In: params, a workspace, and the address of a store. Out: the same release as from one machine, byte for byte. Prefect's
queue hands out the parts; the store (`tasks/candidates/exchange.py`) is all that the machines have in common.

A part whose run has ended without its shards, or finishes none for `policy.PATIENCE_SECONDS`, is submitted again under
a new key; whoever takes it makes only what is not in the store yet. Why by shards and not by heartbeats: a worker that
hangs does not finish shards either, and one that was given up too early does no harm. What is missing after the last
attempt, or cannot be made at all, is tried here, where its error is seen.
"""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment

from flows import policy
from flows.factory import resume
from flows.generate import GenerateReport
from flows.inputs import inputs
from flows.line.lock import alone, exclusive
from flows.line.stage import recorded
from flows.server.server import lasting_server
from flows.terminal import output, progress, size
from flows.train import train
from tasks.candidates.exchange import collect_shard, delivered, run_name, share_kit
from tasks.candidates.read import is_finished
from tasks.contracts import DefectoryError, ShardPlan
from tasks.inputs.dataset import read_inputs
from tasks.params import load_params
from tasks.plan import Part, plan_shards
from tasks.store.s3 import Store, UnreachableStoreError
from tasks.synthesis.fitted import fitted_sha256
from tasks.workspace import PARAMS, ROOT, Workspace


@dataclass(frozen=True)
class Shared:
    """A run with a folder in the store, and what of its plan is not finished here."""

    store: Store
    candidates: Path
    missing: tuple[ShardPlan, ...]

    def collect(self, plans: Sequence[ShardPlan], there: Container[str]) -> list[ShardPlan]:
        """Fetch those of these shards that are there; returns the others."""
        return [
            plan for plan in plans if plan.name not in there or not collect_shard(self.store, self.candidates, plan)
        ]


@dataclass
class _Submitted:
    """A part on its way: its missing shards, and the flow run that is to make them."""

    part: Part
    missing: list[ShardPlan]
    attempt: int = 0
    flow_run: UUID | None = None
    last_news: float = field(default_factory=time.monotonic)

    def collected(self, missing: list[ShardPlan]) -> None:
        if len(missing) < len(self.missing):
            self.last_news = time.monotonic()
        self.missing = missing

    def submit_if_lost(self, store: Store, state: State | None, patience: float) -> None:
        """Submit the part for the first time, or again where nobody seems to be at work on it."""
        if state is not None and state.is_scheduled():  # no worker has taken it so far
            self.last_news = time.monotonic()
        is_idle = time.monotonic() - self.last_news > patience
        if self.missing and (state is None or state.is_final() or is_idle):
            if self.attempt < policy.PART_ATTEMPTS:
                self.flow_run = _submit(store, self.part, self.attempt + 1)
            self.attempt, self.last_news = self.attempt + 1, time.monotonic()


@flow(name="fan-out", persist_result=False)
@exclusive
def fan_out(
    store: str,
    endpoint: str | None = None,
    parts: int = policy.PARTS,
    patience: float = policy.PATIENCE_SECONDS,
    params: Path = PARAMS,
    root: Path = ROOT,
) -> GenerateReport:
    """Read and train here, paint on whatever workers there are, release here."""
    if not 1 <= parts <= policy.MOST_PARTS:
        raise DefectoryError(f"{parts} parts: expected 1 to {policy.MOST_PARTS}, a few times as many as workers")
    inputs(params, root)
    train(params, root)
    shared = share_run(store, endpoint, params, root)
    submitted = [_Submitted(part, list(part.of(shared.missing))) for part in (Part(i, parts) for i in range(parts))]
    _distribute(shared, [one for one in submitted if one.missing], patience)
    return resume(params, root)


def share_run(store: str, endpoint: str | None, params: Path, root: Path) -> Shared:
    """Put the run's kit into the store, unless nothing of the run is left to be made."""
    shared = shared_run(store, endpoint, params, root)
    if shared.missing:
        sent = share_kit(shared.store, load_params(params), root)
        output.print(f"{shared.store.url}: {size(sent)} sent, {len(shared.missing)} shards missing", markup=False)
    return shared


def shared_run(store: str, endpoint: str | None, params: Path, root: Path) -> Shared:
    """The run that these params and this workspace's inputs and models make."""
    workspace, wanted = Workspace(root), load_params(params)
    images = read_inputs(workspace.inputs)
    model_sha256 = fitted_sha256(wanted, images, workspace.models)
    plans = plan_shards(wanted, images, model_sha256)
    missing = tuple(plan for plan in plans if not is_finished(workspace.candidates, plan))
    run = Store(f"{store.rstrip('/')}/runs/{run_name(wanted, images, model_sha256)}", endpoint)
    return Shared(run, workspace.candidates, missing)


def fan_out_here(
    store: str, endpoint: str | None, parts: int | None, patience: float | None, params: Path, root: Path
) -> None:
    """`fan_out` as a verb; workers report to the server that PREFECT_API_URL names, or that is up on this machine."""
    load_params(params)
    with lasting_server():
        fan_out(store, endpoint, parts or policy.PARTS, patience or policy.PATIENCE_SECONDS, params, root)


def share_here(store: str, endpoint: str | None, params: Path, root: Path) -> None:
    """`share_run` as a verb; what workers have made already is there for them, and need not be made again."""
    with alone(root):
        shared = share_run(store, endpoint, params, root)
    output.print(f"work on it with: defectory generate --run {shared.store.url}", markup=False)


def collect_here(store: str, endpoint: str | None, params: Path, root: Path) -> None:
    """Bring what has been delivered of a run that was shared, make the rest here, and release."""
    with alone(root):
        shared = shared_run(store, endpoint, params, root)
        missing = shared.collect(shared.missing, delivered(shared.store))
        output.print(f"{len(shared.missing) - len(missing)} shards collected, {len(missing)} missing")
        recorded(resume, params, root)


def _distribute(shared: Shared, waiting: list[_Submitted], patience: float) -> None:
    """Have workers make the parts, and collect their shards, until all are here or the attempts are used up.

    A store or server that does not answer is waited for as long as for a part: workers go on meanwhile.
    """
    total, heard = sum(len(one.missing) for one in waiting), time.monotonic()
    with progress() as report:
        while waiting:
            try:
                _look(shared, waiting, patience)
                heard = time.monotonic()
            except (UnreachableStoreError, httpx.TransportError):
                if time.monotonic() - heard > patience:
                    raise
            waiting = [one for one in waiting if one.missing and one.attempt <= policy.PART_ATTEMPTS]
            report("collecting shards", total - sum(len(one.missing) for one in waiting), total)
            if waiting:
                time.sleep(policy.POLL_SECONDS)


def _look(shared: Shared, waiting: Sequence[_Submitted], patience: float) -> None:
    states = _states(waiting)  # before the shards: a part that has ended by now has delivered by then
    there = delivered(shared.store)
    for one in waiting:
        one.collected(shared.collect(one.missing, there))
        one.submit_if_lost(shared.store, states.get(one.flow_run), patience)


def _submit(store: Store, part: Part, attempt: int) -> UUID:
    """The key makes it one run however often it is submitted, by this process or by one that was killed before."""
    run = run_deployment(
        f"generate-part/{policy.NAME}",
        parameters={"run": store.url, "index": part.index, "count": part.count, "endpoint": store.endpoint},
        flow_run_name=f"part {part}, attempt {attempt}",
        idempotency_key=f"{store.url} {part} {attempt}",
        timeout=0,
    )
    assert isinstance(run, FlowRun)  # a coroutine in an event loop only
    return run.id


def _states(submitted: Sequence[_Submitted]) -> dict[UUID | None, State | None]:
    ids = [one.flow_run for one in submitted if one.flow_run]
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids))) if ids else []
    return {run.id: run.state for run in runs}
