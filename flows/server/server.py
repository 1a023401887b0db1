"""The Prefect server that records a run: the user's, the one that is up here already, or an embedded one.

In: nothing, or a port. Out: inside the block, flows and the processes they start report to it. Why not Prefect's
own ephemeral server: one server then serves every stage of a run, its words go to a log and not between the
progress, and it is stopped in order, also when the run is killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)

from flows.server.access import LOOPBACK, check_host, guarded, own_address
from flows.server.processes import supervised
from tasks.contracts import DefectoryError

_START_SECONDS, _DELIVERY_SECONDS = 240.0, 10


@contextmanager
def prefect_server(meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Make sure that a server answers for as long as the block lasts; yields its API's address.

    `meanwhile` is called while an embedded server starts, which takes seconds. Raises DefectoryError when the server
    that PREFECT_API_URL names does not answer.
    """
    chosen = PREFECT_API_URL.value()
    if chosen:
        if not answers(chosen):
            raise DefectoryError(
                f"no Prefect server answers at {_without_secrets(chosen)}: start it, or unset PREFECT_API_URL "
                "to run with an embedded one"
            )
        meanwhile()
        yield chosen
    elif running := _running_here():
        meanwhile()
        with _reporting_to(running):
            yield running
    else:
        with embedded_server(meanwhile=meanwhile) as address:
            yield address


@contextmanager
def lasting_server() -> Iterator[str]:
    """Like `prefect_server`, for what an embedded server is of no use to. Raises DefectoryError where there is none."""
    if not PREFECT_API_URL.value() and _running_here() is None:
        raise DefectoryError("no Prefect server: set PREFECT_API_URL, or start one on this machine: `defectory up`")
    with prefect_server() as address:
        yield address


@contextmanager
def embedded_server(
    port: int | None = None, meanwhile: Callable[[], object] = lambda: None, host: str = LOOPBACK
) -> Iterator[str]:
    """Run a server, at a free port unless one is given, with its database and log in PREFECT_HOME; yields its address.

    Raises DefectoryError for a host beyond loopback where no password is demanded.
    """
    check_host(host)
    log = Path(PREFECT_HOME.value()) / "server.log"
    port = _free_port(port, host)
    address = own_address(host, port)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    with supervised(command, log, guarded(address, port)) as process:
        meanwhile()
        _wait_until_up(process, address, log)
        with _reporting_to(address):
            yield address


@contextmanager
def records_in(home: Path) -> Iterator[None]:
    """Keep Prefect's records in `home`, in this process and in those that it starts meanwhile."""
    before = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(home)
    try:
        with temporary_settings({PREFECT_HOME: home}):
            yield
    finally:
        os.environ.pop("PREFECT_HOME")
        if before is not None:
            os.environ["PREFECT_HOME"] = before


@contextmanager
def open_to_other_runs(address: str) -> Iterator[None]:
    """Let runs that begin while the block lasts join this server: their graphs then show in its UI at once."""
    _address_file().write_text(address, encoding="ascii")
    try:
        yield
    finally:
        _address_file().unlink(missing_ok=True)


def answers(address: str) -> bool:
    """Whether a Prefect API answers at this address."""
    try:
        with build_opener(ProxyHandler({})).open(f"{address.rstrip('/')}/health", timeout=5):
            return True
    except HTTPError as error:
        return error.code in (401, 403)  # it is up; whether it lets us in shows with the first flow
    except (OSError, ValueError, HTTPException):
        return False


@contextmanager
def _reporting_to(address: str) -> Iterator[None]:
    """Point Prefect at a server of this machine: in this process, and in those that it starts."""
    settings = {PREFECT_API_URL: address}
    if demanded := PREFECT_SERVER_API_AUTH_STRING.value():
        settings[PREFECT_API_AUTH_STRING] = demanded
    before = {setting.name: os.environ.get(setting.name) for setting in settings}
    os.environ.update({setting.name: value for setting, value in settings.items()})
    try:
        # Nobody waits for the heartbeat of a run that ends with its server; stopping one takes a second for each flow.
        with temporary_settings({**settings, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            try:
                yield
            finally:
                _deliver()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _deliver() -> None:
    """Hand over the events and logs that Prefect still holds, before their server is gone."""
    APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
    EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)


def _address_file() -> Path:
    return Path(PREFECT_HOME.value()) / "server.address"


def _running_here() -> str | None:
    try:
        address = _address_file().read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return address if answers(address) else None


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DefectoryError(f"the Prefect server ended with status {process.returncode} at its start: see {log}")
        if answers(address):
            return
        time.sleep(0.1)
    raise DefectoryError(f"the Prefect server did not answer in {_START_SECONDS:.0f} s: see {log}")


def _free_port(wanted: int | None, host: str) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            listener.bind((host, wanted or 0))
        except socket.gaierror:
            raise DefectoryError(f"--host {host}: no IPv4 address of this machine; try {LOOPBACK}") from None
        except OSError as error:
            reason = "is taken" if error.errno == EADDRINUSE else f"cannot be had at {host} ({error.strerror})"
            raise DefectoryError(f"port {wanted} of this machine {reason}: give another one") from None
        return int(listener.getsockname()[1])


def _without_secrets(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
