"""Three workers that share nothing but an S3 store, a Prefect server on a real PostgreSQL, and a machine that dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Completed, Crashed, Running, Scheduled

from flows import policy
from flows.factory import factory
from flows.machines import fan_out as fan_out_module
from flows.machines.deploy import deploy
from flows.machines.fan_out import fan_out
from flows.server.local_store import StoreKey
from flows.server.server import embedded_server
from tasks.plan import Part, plan_shards
from tasks.store.s3 import UnreachableStoreError
from tests.factories import make_inputs, make_params
from tests.factory_fixtures import CATEGORIES, SHARD_SIZE, hashes, write_params, write_photographs
from tests.postgres import postgres, program

WORKERS, SAMPLES = 3, 12
SHARDS_IN_ORDER = [f"{category}/{number:05d}" for category in CATEGORIES for number in range(SAMPLES // SHARD_SIZE)]
SHARDS = len(SHARDS_IN_ORDER)
PROJECT = str(Path(__file__).parents[2])

needs_postgres = pytest.mark.skipif(
    program("initdb") is None, reason="no PostgreSQL server: apt-get install postgresql"
)


@pytest.fixture
def postgres_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    home = tmp_path / "prefect"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    with postgres() as database, temporary_settings({PREFECT_HOME: home}):
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", database)
        with embedded_server() as address:
            monkeypatch.delenv("PREFECT_SERVER_DATABASE_CONNECTION_URL")  # the workers know the API alone
            yield address


@contextmanager
def workers(folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Each in a folder of its own, as on a machine of its own."""
    running = []
    for number in range(WORKERS):
        place = folder / f"machine-{number}"
        place.mkdir()
        own = {
            "DEFECTORY_SCRATCH": str(place / "scratch"),
            "PREFECT_HOME": str(place / "prefect"),
            "PYTHONPATH": PROJECT,
        }
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "flows.cli", "worker", "--device", "cpu"]
        with (place / "log").open("wb") as log:
            environment = {**os.environ, **own, **quick}
            running.append(subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log))
    try:
        yield running
    finally:
        for worker in running:
            kill(worker)


def kill(worker: subprocess.Popen[bytes]) -> None:
    """Like a power cut: everything of it at once."""
    if worker.poll() is None:
        parent = psutil.Process(worker.pid)
        for process in (parent, *parent.children(recursive=True)):
            process.kill()
    worker.wait(60)


def made_by(folder: Path, number: int) -> set[str]:
    """The shards that a machine has finished."""
    found = (folder / f"machine-{number}").glob("scratch/*/*/data/candidates/*/*.done.json")
    return {f"{path.parent.name}/{path.name.removesuffix('.done.json')}" for path in found}


def wait_until_up(folder: Path) -> None:
    logs = [folder / f"machine-{number}" / "prefect" / "worker-0.log" for number in range(WORKERS)]
    while not all(log.exists() and "started!" in log.read_text() for log in logs):
        time.sleep(0.1)


def kill_the_first_that_has_finished_something(
    folder: Path, running: Sequence[subprocess.Popen[bytes]], killed: list[int]
) -> None:
    while not killed:
        time.sleep(0.02)
        for number, worker in enumerate(running):
            if not killed and (made := made_by(folder, number)):
                kill(worker)
                killed.append(number)
                declare_dead(made.pop())


def declare_dead(shard: str) -> None:
    """Do at once what the server does ten minutes after a run's last heartbeat (see `test_deploy`)."""
    part = SHARDS_IN_ORDER.index(shard) % WORKERS
    [run] = [run for run in flow_runs() if run.name == f"part {part}-of-{WORKERS}, attempt 1"]
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed())


def flow_runs() -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs()


@needs_postgres
@pytest.mark.timeout(1800)
def test_a_run_of_three_machines_of_which_one_dies_is_that_of_one_machine(
    postgres_server: str, endpoint: str, key: StoreKey, tmp_path: Path
) -> None:
    alone, many = tmp_path / "alone", tmp_path / "many"
    for folder in (alone, many):
        folder.mkdir()
        write_photographs(folder)
        write_params(folder, dataset={"samples_per_category": SAMPLES}, paint={"systems": {"cutpaste": 1.0}})
    deploy(many)
    killed: list[int] = []
    with workers(tmp_path) as running:
        wait_until_up(tmp_path)
        deed = (kill_the_first_that_has_finished_something, tmp_path, running, killed)
        executioner = threading.Thread(target=copy_context().run, args=deed)  # where the server is, is in the context
        executioner.start()
        given = {"parts": WORKERS, "params": many / "params.yaml", "root": many / "data"}
        here = fan_out("s3://datasets/fan-out-tests", endpoint, **given)
        executioner.join()
    [victim] = killed
    others = [number for number in range(WORKERS) if number != victim]
    made = {number: made_by(tmp_path, number) for number in range(WORKERS)}
    assert 1 <= len(made[victim]) < SHARDS / WORKERS, "it was to be killed in the middle of its part"
    assert all(made[number] for number in others), "every machine has taken part"
    assert here.shards == 0, "all shards are the workers'"
    assert sum(map(len, made.values())) <= SHARDS + 1, "only the shard at the kill may be made twice"
    assert sorted(run.name[-9:] for run in parts()) == ["attempt 1"] * WORKERS + ["attempt 2"]

    factory(alone / "params.yaml", alone / "data")
    assert hashes(many / "data") == hashes(alone / "data")
    assert fan_out("s3://datasets/fan-out-tests", endpoint, **given).shards == 0
    assert len(parts()) == WORKERS + 1, "nothing is submitted where nothing is missing"


def parts() -> list[FlowRun]:
    return [run for run in flow_runs() if run.name.startswith("part ")]


class _Clock:
    """Of a coordinator that has submitted a part and looks again after so many seconds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.submitted = 0.0, list[int]()
        patch.setattr(fan_out_module.time, "monotonic", lambda: self.now)
        patch.setattr(fan_out_module, "_submit", lambda store, part, attempt: self.submitted.append(attempt) or uuid4())

    def look(self, part: fan_out_module._Submitted, state: State | None, seconds: float = 0.0) -> list[int]:
        """The attempts there have been by then."""
        self.now += seconds
        part.submit_if_lost(None, state, patience=60.0)  # type: ignore[arg-type]
        return self.submitted


PLANS = plan_shards(make_params(), make_inputs(), "model")


def test_a_part_is_submitted_again_when_nobody_is_at_work_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, part = _Clock(monkeypatch), fan_out_module._Submitted(Part(0, 1), list(PLANS), last_news=0.0)
    assert clock.look(part, None) == [1]
    assert clock.look(part, Scheduled(), 1000) == [1], "no worker is free"
    assert clock.look(part, Running(), 59) == [1]
    part.collected(list(PLANS[1:]))
    assert clock.look(part, Running(), 59) == [1], "it has just finished a shard"
    assert clock.look(part, Running(), 2) == [1, 2], "it hangs, or its machine is gone"
    assert clock.look(part, Completed(), 1) == [1, 2, 3], "it has ended, and shards are missing all the same"
    assert clock.look(part, Crashed(), 1) == [1, 2, 3], "the rest is made by the coordinator"
    assert part.attempt > policy.PART_ATTEMPTS


def test_a_part_that_is_whole_is_not_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, part = _Clock(monkeypatch), fan_out_module._Submitted(Part(0, 1), list(PLANS), last_news=0.0)
    assert clock.look(part, None) == [1]
    part.collected([])
    assert clock.look(part, Completed()) == [1]
    assert clock.look(part, Running(), 1000) == [1]


@pytest.mark.parametrize("error", [UnreachableStoreError("no answer"), httpx.ConnectError("refused")])
@pytest.mark.parametrize("seconds", [59.0, 61.0])
def test_a_coordinator_waits_for_a_store_and_a_server_as_long_as_for_a_part(
    monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: float
) -> None:
    clock, part = _Clock(monkeypatch), fan_out_module._Submitted(Part(0, 1), list(PLANS), last_news=0.0)
    steps = iter([0.0, seconds / 2, seconds / 2])
    monkeypatch.setattr(fan_out_module.time, "sleep", lambda wait: None)

    def delivered(store: object) -> set[str]:
        step = next(steps, None)
        if step is None:
            return {plan.name for plan in PLANS}
        clock.now += step
        raise error

    monkeypatch.setattr(fan_out_module, "_states", lambda waiting: {})
    monkeypatch.setattr(fan_out_module, "delivered", delivered)
    monkeypatch.setattr(fan_out_module, "collect_shard", lambda *given: True)
    shared = fan_out_module.Shared(None, Path(), tuple(PLANS))  # type: ignore[arg-type]
    waiting = pytest.raises(type(error)) if seconds > 60.0 else nullcontext()
    with waiting:
        fan_out_module._distribute(shared, [part], patience=60.0)
    assert bool(part.missing) == (seconds > 60.0)
