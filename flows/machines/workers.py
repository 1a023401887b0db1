"""Workers of this machine: each takes one part of a run at a time, on a device of its own.

In: devices, and the Prefect server that PREFECT_API_URL names. Out: parts are made for as long as this runs. A worker
is Prefect's own process worker; what it is given besides is its device and a folder for its runs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from prefect.settings import PREFECT_HOME

from flows import policy
from flows.options import DEVICE_VARIABLE
from flows.server.processes import supervised
from flows.server.server import lasting_server
from flows.terminal import output
from tasks.contracts import DefectoryError

_LOOK_SECONDS = 1.0


def work(devices: Sequence[str]) -> None:
    """Run a worker for each device until Ctrl-C: `cpu`, `cuda:1`, a GPU's number or its UUID, as often as wanted.

    An empty name is the best device there is. Raises DefectoryError where no server answers, or when a worker ends by
    itself.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with lasting_server() as address, ExitStack() as stack, suppress(KeyboardInterrupt):
        workers = {log: stack.enter_context(worker) for log, worker in (_worker(n, d) for n, d in enumerate(devices))}
        output.print(f"{len(workers)} workers take parts from {address}; Ctrl-C stops them", markup=False)
        while not any(worker.poll() is not None for worker in workers.values()):
            time.sleep(_LOOK_SECONDS)
        ended = next(log for log, worker in workers.items() if worker.poll() is not None)
        raise DefectoryError(f"a worker has ended: see {ended}")


def _worker(number: int, device: str) -> tuple[Path, AbstractContextManager[subprocess.Popen[bytes]]]:
    name = f"{socket.gethostname()}-{os.getpid()}-{number}"
    log = Path(PREFECT_HOME.value()) / f"worker-{number}.log"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--limit", "1"]
    environment = {**only(device), "DEFECTORY_SCRATCH": str(policy.scratch() / str(number))}
    return log, supervised([*command, "--pool", policy.PARTS_POOL, "--name", name], log, environment)


def only(device: str) -> dict[str, str]:
    """What makes a process see this device alone; a GPU with a number is then the first one that it knows."""
    kind, _, number = device.partition(":")
    if (kind == "cuda" and number) or device[:1].isupper() or device.isdecimal():
        return {DEVICE_VARIABLE: "cuda", "CUDA_VISIBLE_DEVICES": number or device}
    hidden = {} if kind in ("", "cuda") else {"CUDA_VISIBLE_DEVICES": ""}
    return {DEVICE_VARIABLE: device, **hidden}
