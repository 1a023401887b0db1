"""All knobs of running: how tasks are run, retried and timed out, and on which device.

None of them changes bytes; what does is in params.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import opaque

from flows.options import DEVICE_VARIABLE

if TYPE_CHECKING:
    import torch

_P = ParamSpec("_P")
_R = TypeVar("_R")

PUBLISH_RETRIES = 1
PUBLISH_RETRY_SECONDS = 60
"""A store that hiccups for longer than dvc's own retries: everything finished is kept, so one more try is cheap."""
PUBLISH_TIMEOUT_SECONDS = 24 * 3600
DEAD_AFTER_SECONDS = 600.0
"""Without a heartbeat, of which Prefect sends one every 180 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY)."""
LATE_AFTER_SECONDS = 12 * 3600.0


POOL, PARTS_POOL = "defectory", "defectory-parts"
"""The work pool of whole runs, and that of parts: a run that waits for its parts must not keep a worker from them."""
NAME = "local"
"""Of every deployment, after its flow's name."""

POLL_SECONDS = 2.0
"""Between two looks at what workers on other machines have finished."""
PATIENCE_SECONDS = 30 * 60.0
"""For a part that runs and finishes no shard: its worker is taken for dead, and another one gets the part, too."""
PART_ATTEMPTS = 3
PARTS, MOST_PARTS = 16, 200
"""More than there are workers, so that the last ones do not wait long for one another; each opens the model anew. And
no more than Prefect tells the states of at once."""


def scratch() -> Path:
    """Where a worker keeps the runs that it takes part in: DEFECTORY_SCRATCH, best on a fast local disk."""
    return Path(os.environ.get("DEFECTORY_SCRATCH", "") or Path.home() / ".cache" / "defectory")


def background() -> TaskRunner[Any]:
    """Two threads beside the model's: one draws the next shard's masks, one writes the previous shard."""
    return ThreadPoolTaskRunner(max_workers=2)


@dataclass(frozen=True)
class Station(Generic[_P, _R]):
    """A Prefect task of one shard, which is called as its function is.

    What it is given is not searched for futures inside: Prefect would look at each of a shard's hundreds of samples
    with every task, about a tenth of a second for 500 of them. Which station follows which is kept all the same.
    """

    task: Task[_P, _R]

    def __call__(self, *given: _P.args, **named: _P.kwargs) -> _R:
        run: Callable[..., _R] = self.task
        return run(*map(opaque, given), **named)

    def submit(self, *given: _P.args, **named: _P.kwargs) -> PrefectFuture[_R]:
        submit: Callable[..., PrefectFuture[_R]] = self.task.submit
        return submit(*map(opaque, given), **named)


def station(run_name: str) -> Callable[[Callable[_P, _R]], Station[_P, _R]]:
    """Make a function a station, its runs named by its parameters, such as `paint {drawn.plan.name}`.

    Results are handed over inside the process and kept nowhere: shards' done-markers are the only memory. There are
    no retries here, since a retry needs what the stations before have handed over; the flow retries whole shards.
    """

    made = task(task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0)
    return lambda function: Station(made(function))


def device() -> torch.device:
    """Where the networks run: what `--device` or DEFECTORY_DEVICE names (`cpu`, `cuda`, `cuda:1`, …), else the best.

    A flow asks once, before it reads anything, and hands the answer down. Raises DefectoryError where the device that
    was asked for is not there.
    """
    from tasks.networks.device import choose_device  # takes seconds, and what only submits or waits asks for no device

    return choose_device(os.environ.get(DEVICE_VARIABLE, ""))
