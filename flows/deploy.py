"""Deployments: what a Prefect server starts on demand or on a schedule, and the pool whose workers do it.

`factory` makes a dataset, `publish` makes a version of it and has a schedule for every night, off until turned on.
One run of each at a time: a second one waits, and then has only what is missing to do.
"""

from __future__ import annotations

import inspect
import signal
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from prefect import Flow, flow, get_client, get_run_logger
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_HOME
from prefect.workers.process import ProcessWorker

from flows import policy
from flows.access import LOOPBACK
from flows.factory import factory
from flows.processes import supervised
from flows.publish import publish
from flows.server import embedded_server, open_to_other_runs
from flows.terminal import output
from flows.workspace import PARAMS, ROOT

POOL = "defectory"
NAME = "local"
_CODE = Path(__file__).resolve().parents[1]


@flow(
    name="publish",
    persist_result=False,
    retries=policy.PUBLISH_RETRIES,
    retry_delay_seconds=policy.PUBLISH_RETRY_SECONDS,
    timeout_seconds=policy.PUBLISH_TIMEOUT_SECONDS,
)
def publish_version(repo: Path = Path(), tag: str | None = None) -> str:
    """Make, push and tag a version; returns the tag."""
    return publish(repo.resolve(), tag, get_run_logger().info).tag


def deploy(folder: Path) -> None:
    """Register both deployments with the current server; their runs work on the dataset in `folder`."""
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template), overwrite=True)
    place = folder.resolve()
    _register(factory, {"params": str(place / PARAMS), "root": str(place / ROOT)})
    _register(publish_version, {"repo": str(place)}, Cron(policy.PUBLISH_SCHEDULE, active=False))


def _register(deployed: Flow[..., Any], parameters: dict[str, str], schedule: Schedule | None = None) -> None:
    path = Path(inspect.getfile(deployed.fn)).relative_to(_CODE)
    loaded = deployed.from_source(source=str(_CODE), entrypoint=f"{path}:{deployed.fn.__name__}")
    assert isinstance(loaded, Flow)  # this and the next are coroutines in an event loop only
    deployment = loaded.to_deployment(
        NAME,
        work_pool_name=POOL,
        parameters=parameters,
        schedule=schedule,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        description=deployed.description,
    )
    assert isinstance(deployment, RunnerDeployment)
    deployment.apply()


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
