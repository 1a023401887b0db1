"""Ends a process at a write of one's choice, again and again, cheaply.

In: a function that works below a folder. Out: attempts at it, each a process of its own that is killed (SIGKILL, with
its whole process group) right before a write, or that runs to its end. A write is whatever changes the folder: opening
a file for writing, renaming, linking, removing, making a folder; connecting to a server counts, too. Python raises an
audit event before each, in every thread, so the code that is killed is the code as it is. `python -m benchmarks.killing
MODULE...` imports everything once and forks an attempt for each order that it reads, so that an attempt costs no start.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
_SAID_NOTHING = '{"writes": [], "error": ""}'
_OPEN, _CONNECT = "open", "socket.connect"
_TEMPORARY = re.compile(r"[\w-]{22}(?=\.tmp$)")
"""A name that dvc draws."""


@dataclass(frozen=True)
class Instant:
    """Right before the first write of this name."""

    write: str
    """Such as `os.rename data/release`, where PID stands for the process's number, or `socket.connect 3`."""
    torn: bool = False
    """The file that would be opened is left empty there, as after a kill between opening and the first byte."""


@dataclass(frozen=True)
class Attempt:
    """What became of one attempt."""

    killed: bool
    writes: list[str]
    """That it has made, and last the one before which it was killed."""
    error: str
    """The traceback of what it raised; empty where it raised nothing."""


def instants_of(writes: list[str]) -> list[Instant]:
    """Every instant of an undisturbed attempt, in its order: before each write, and in those that open a file."""
    names = list(dict.fromkeys(writes))
    return [Instant(name, torn) for name in names for torn in ((False, True) if name.startswith(_OPEN) else (False,))]


class Zygote:
    """A process that has imported modules and all that they need, and forks an attempt for each order."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def attempt(self, function: str, folder: Path, instant: Instant | None = None) -> Attempt:
        """Call `module:name` with `folder`, killed at the instant where there is one and it comes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"function": function, "folder": str(folder), "instant": asdict(instant) if instant else None}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Attempt(**json.loads(self._process.stdout.readline()))


@contextmanager
def zygote(log: Path, *modules: str) -> Iterator[Zygote]:
    """A zygote that has imported these modules; what its attempts print goes to `log`."""
    with log.open("ab") as output:
        command = [sys.executable, "-m", "benchmarks.killing", *modules]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True)
    try:
        yield Zygote(process)
    finally:
        process.communicate()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an attempt prints is no answer
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        module, _, name = order["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        instant = Instant(**order["instant"]) if order["instant"] else None
        print(json.dumps(asdict(_attempt(function, Path(order["folder"]), instant))), file=answers, flush=True)


def _attempt(function: Callable[[Path], object], folder: Path, instant: Instant | None) -> Attempt:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(reader)
        _work(function, folder.resolve(), instant, os.fdopen(writer, "w"))
    os.close(writer)
    with os.fdopen(reader) as report:
        said = json.loads(report.read() or _SAID_NOTHING)
    _, status = os.waitpid(child, 0)
    return Attempt(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, **said)


def _work(function: Callable[[Path], object], folder: Path, instant: Instant | None, report: IO[str]) -> None:
    """Never returns: the process that was forked ends here."""
    error, watch = "", _Watch(folder, instant, report)
    try:
        sys.addaudithook(watch)
        function(folder)
    except BaseException:
        error = traceback.format_exc()
    watch.tell(error)
    os._exit(1 if error else 0)


class _Watch:
    """An audit hook that notes writes below a folder and kills its process group before one of them."""

    def __init__(self, folder: Path, instant: Instant | None, report: IO[str]) -> None:
        self._folder, self._instant, self._report = str(folder), instant, report
        self._process, self._writes, self._connections = str(os.getpid()), list[str](), 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = _written(event, arguments)
        if event == _CONNECT:
            self._connections += 1
            write = f"{event} {self._connections}"
        elif path is not None and path.startswith(self._folder + os.sep):
            name = _TEMPORARY.sub("TMP", os.path.relpath(path, self._folder)).replace(self._process, "PID")
            write = f"{event} {name}"
        else:
            return
        self._writes.append(write)
        if self._instant and write == self._instant.write:
            torn, self._instant = self._instant.torn, None
            if torn and path is not None:
                Path(path).write_bytes(b"")
            self.tell("")
            os.killpg(0, signal.SIGKILL)

    def tell(self, error: str) -> None:
        json.dump({"writes": self._writes, "error": error}, self._report)
        self._report.flush()


def _written(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The absolute path that an audit event is about to change; None where it changes none."""
    if event == "open":
        path, _, flags = arguments
        changes = isinstance(flags, int) and bool(flags & _WRITES)
    else:
        path, changes = arguments[0] if event in _CHANGES else None, event in _CHANGES
    if not changes or not isinstance(path, str | bytes | os.PathLike):
        return None
    descriptor = next((a for a in arguments[1:] if event in ("os.remove", "os.rmdir") and a != -1), None)
    base = Path(f"/proc/self/fd/{descriptor}").readlink() if descriptor is not None else Path.cwd()
    return os.path.normpath(base / os.fsdecode(path))


if __name__ == "__main__":
    main()
