"""Programs that run beside a run and must never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_STOP_SECONDS = 15.0


@contextmanager
def supervised(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, patience: float = _STOP_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for as long as the block lasts, its words in `log`; it also ends when this process is killed.

    `environment` is what the command's differs in from this process's. At the end it is asked to stop, and killed
    with its children when it has not stopped after `patience` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches the run alone, and the run then stops its helpers in order.
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.supervise", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process, patience)


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    """Ask it to stop by closing its supervisor's input; kill what does not."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
