"""Deployments: what a Prefect server starts on demand or on a schedule, and the pools whose workers do it.

`factory` and `fan-out` make a dataset, `publish` a version of it, one run of each at a time: a second one waits, and
then has only what is missing to do. `generate-part` makes a part of a run on any machine, as many at once as there are
workers. The workers import the installed package, so that no machine needs this one's folders.
"""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import Flow, flow, get_client, get_run_logger
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_HOME
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows import policy
from flows.factory import factory
from flows.line.lock import alone
from flows.machines.automations import watch
from flows.machines.fan_out import fan_out
from flows.machines.part import generate_part
from flows.policy import NAME, PARTS_POOL, POOL
from flows.publish import publish
from flows.server.access import LOOPBACK
from flows.server.processes import supervised
from flows.server.server import embedded_server, lasting_server, open_to_other_runs
from flows.terminal import output
from tasks.contracts import DefectoryError
from tasks.store.s3 import check_endpoint
from tasks.workspace import PARAMS, ROOT

_ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


@dataclass(frozen=True)
class Wishes:
    """What a person may want of the scheduled runs."""

    cron: str | None = None
    """When to publish; where it is left out, a schedule that the server has already stays."""
    timezone: str = "UTC"
    notify: str | None = None
    """`type/name` of the block through which failures are told."""
    store: str | None = None
    """Paint on the workers of all machines, which share this store."""
    endpoint: str | None = None


@flow(
    name="publish",
    persist_result=False,
    retries=policy.PUBLISH_RETRIES,
    retry_delay_seconds=policy.PUBLISH_RETRY_SECONDS,
    timeout_seconds=policy.PUBLISH_TIMEOUT_SECONDS,
)
def publish_version(
    repo: Path = Path(), tag: str | None = None, store: str | None = None, endpoint: str | None = None
) -> str:
    """Make, push and tag a version; returns the tag. With a store the workers of all machines make its shards."""
    repo = repo.resolve()
    with alone(repo / ROOT):
        if store:
            fan_out(store, endpoint, params=repo / PARAMS, root=repo / ROOT)
        return publish(repo, tag, get_run_logger().info).tag


def deploy_here(folder: Path, wishes: Wishes) -> None:
    """Register with the server that PREFECT_API_URL names, or that is up on this machine."""
    if wishes.endpoint:
        check_endpoint(wishes.endpoint)
    with lasting_server() as address:
        deploy(folder, wishes)
    when = f"publish runs at {wishes.cron!r} ({wishes.timezone})" if wishes.cron else "no schedule was changed"
    output.print(f"registered with {address}; {when}; workers: prefect worker start --pool {POOL}", markup=False)


def deploy(folder: Path, wishes: Wishes = Wishes()) -> None:
    """Register all with the current server; runs work on the dataset in `folder`. Safe to repeat."""
    schedule = _schedule(wishes)
    for pool in (POOL, PARTS_POOL):
        _make_pool(pool)
    place = folder.resolve()
    wanted = {"store": wishes.store, "endpoint": wishes.endpoint}
    shared = {name: value for name, value in wanted.items() if value is not None}
    whole = [
        _register(factory, {"params": str(place / PARAMS), "root": str(place / ROOT)}),
        _register(fan_out, {"params": str(place / PARAMS), "root": str(place / ROOT), **shared}),
        _register(publish_version, {"repo": str(place), **shared}, schedule),
    ]
    _register(generate_part, {}, pool=PARTS_POOL, limit=None)
    watch(whole, wishes.notify)


def _schedule(wishes: Wishes) -> Schedule | None:
    """With a slug, so that the server changes the schedule it has, and keeps it where none is given."""
    if not wishes.cron:
        return None
    try:
        ZoneInfo(wishes.timezone)
        return Cron(wishes.cron, timezone=wishes.timezone, slug="publish")
    except (ValueError, LookupError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise DefectoryError(
            f"--cron {wishes.cron!r} --timezone {wishes.timezone!r}: {reason}; such as '0 2 * * *', Europe/Vienna"
        ) from None


def _make_pool(name: str) -> None:
    """A pool that is there already stays as it is: it may be one of Kubernetes."""
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def _register(
    deployed: Flow[..., Any],
    parameters: dict[str, str],
    schedule: Schedule | None = None,
    pool: str = POOL,
    limit: ConcurrencyLimitConfig | None = _ONE,
) -> UUID:
    deployment = deployed.to_deployment(
        NAME,
        work_pool_name=pool,
        parameters=parameters,
        schedule=schedule,
        concurrency_limit=limit,
        description=deployed.description,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, RunnerDeployment)  # this and the next are coroutines in an event loop only
    made = deployment.apply()
    assert isinstance(made, UUID)
    return made


def serve(folder: Path, port: int, host: str = LOOPBACK) -> None:
    """Run server, UI and one worker until Ctrl-C; then stop both, in order. `host` as in `embedded_server`."""
    with embedded_server(port, host=host) as address, open_to_other_runs(address):
        deploy(folder)
        with _worker():
            output.print(f"Prefect UI: {address.removesuffix('/api')}")
            output.print(f"start a run there, or with: prefect deployment run factory/{NAME}; Ctrl-C stops all")
            _wait_for_interrupt()


def _worker() -> AbstractContextManager[object]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return supervised([*command, "--name", NAME], Path(PREFECT_HOME.value()) / "worker.log")


def _wait_for_interrupt() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        signal.pause()
