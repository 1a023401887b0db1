"""A real PostgreSQL of the tests' own, on loopback, with a password, gone when the block ends."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.server.processes import supervised

_USERS = ("postgres", "nobody")
"""Who may run it for root, as whom it refuses to be run; its files are then theirs."""


def program(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH, a folder for each version."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(newest[-1]) if newest else shutil.which(name)


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server with an empty database; yields its address for Prefect."""
    with TemporaryDirectory(prefix="defectory-postgres-") as place:
        folder, password = Path(place), secrets.token_urlsafe()
        data = folder / "data"
        (folder / "password").write_text(password)
        become = _give_away(folder)
        options = ["--username=prefect", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync"]
        initdb = [*become, str(program("initdb")), f"--pgdata={data}", *options, "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
        port = _free_port()
        serve = [*become, str(program("postgres")), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
        quick = ["-k", str(folder), "-c", "fsync=off", "-c", "max_connections=200"]
        with supervised([*serve, *quick], folder / "postgres.log") as process:
            _wait_for(folder / f".s.PGSQL.{port}", process)
            yield f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/postgres"


def _give_away(folder: Path) -> list[str]:
    """The command that makes one the user whose folder it now is; none is needed where nobody is root."""
    if os.geteuid() != 0:
        return []
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next(known[name] for name in _USERS if name in known)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _wait_for(sock: Path, process: subprocess.Popen[bytes]) -> None:
    while not sock.exists():
        assert process.poll() is None, f"PostgreSQL ended at its start: {(sock.parent / 'postgres.log').read_text()}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
