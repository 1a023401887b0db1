"""One part of a run on any machine: fetch the kit, make the part's shards, send each as soon as it is finished.

In: a run's address in the store, and which part. Out: shards in the store. What is there already is not made again, so
a part that was killed goes on at its next shard, on whichever machine it is started again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow
from prefect.settings import PREFECT_API_URL

from flows import policy
from flows.generate import GenerateReport, generate, make_missing
from flows.line.lock import alone
from flows.line.stations import Run
from flows.server.server import prefect_server, records_in
from flows.terminal import output
from tasks.candidates.exchange import KIT_DATA, KIT_PARAMS, Delivery, fetch_kit, run_name
from tasks.candidates.read import is_finished
from tasks.contracts import DefectoryError, ShardPlan, check_name
from tasks.params import load_params
from tasks.plan import Part
from tasks.store.s3 import Store
from tasks.workspace import Workspace


@flow(name="generate-part", task_runner=policy.background(), persist_result=False)
def generate_part(run: str, index: int, count: int, endpoint: str | None = None) -> GenerateReport:
    """Make what is missing of one part of the run with this address. Raises DefectoryError as `generate` does."""
    store, part, device = Store(run, endpoint), Part(index, count), policy.device()
    folder = policy.scratch() / _name(run)
    fetch_kit(store, folder)
    workspace = Workspace(folder / KIT_DATA)
    with alone(workspace.root, part):
        here = Run(load_params(folder / KIT_PARAMS), workspace, device)
        _check_code(here, run)
        return make_missing(here, workspace, _undelivered(here, part, Delivery(store, here.candidates)))


def generate_here(params: Path, root: Path, part: Part, run: str | None, endpoint: str | None) -> None:
    """A part as a verb: of the workspace at `root`, or of the run with this address."""
    with _own_records():
        if run is None:
            load_params(params)
        with prefect_server():
            made = generate(params, root, part) if run is None else generate_part(run, part.index, part.count, endpoint)
    output.print(f"part {part}: {made.shards} shards made, the others were there")


def _name(run: str) -> str:
    """The last part of the address, which becomes a folder."""
    return check_name(run.rstrip("/").rsplit("/", 1)[-1], f"{run}: the run")


def _check_code(here: Run, run: str) -> None:
    """A worker with another version of the code would make other bytes, and nobody would collect them."""
    if run_name(here.params, here.line.inputs, here.line.portfolio.sha256) != _name(run):
        raise DefectoryError(
            f"{run}: this machine's version of defectory is another one than that which shared the run; "
            "install the same one on all machines"
        )


def _undelivered(here: Run, part: Part, delivery: Delivery) -> list[ShardPlan]:
    """The part's shards that are still to be made; those that lie finished here are sent at once."""
    here.deliver = delivery.send
    ours = [plan for plan in part.of(here.plans) if not delivery.has(plan)]
    finished = [plan for plan in ours if is_finished(here.candidates, plan)]
    for plan in finished:
        delivery.send(plan)
    return [plan for plan in ours if plan not in finished]


@contextmanager
def _own_records() -> Iterator[None]:
    """Where no server is named, Prefect's records go to a folder of this process and with it: SQLite has one writer."""
    if PREFECT_API_URL.value():
        yield
        return
    with TemporaryDirectory(prefix="defectory-") as home, records_in(Path(home)):
        yield
