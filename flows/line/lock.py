"""One run at a time in a workspace: a second one waits, and then has only what is missing to do.

In: a workspace's root. Out: inside the block nobody else writes there. The kernel keeps the lock (flock) and lets go of
it when the process dies, however it dies, so nothing stale is ever left to clear up. A stage belongs to the run that
has started it, in the same process or through dvc in another: it finds that run's token in its environment.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from flows.terminal import output
from tasks.contracts import DefectoryError
from tasks.plan import WHOLE_PLAN, Part

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TOKENS = "DEFECTORY_LOCKS"
"""The variable with the tokens of the locks that this process and those which started it hold."""
_held: set[int] = set()


def exclusive(stage: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a stage, which has a `root` and perhaps a `part`, wait until nobody else writes there."""

    @wraps(stage)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature(stage).bind(*args, **kwargs)
        given.apply_defaults()
        with alone(given.arguments["root"], given.arguments.get("part", WHOLE_PLAN)):
            return stage(*args, **kwargs)

    return run


@contextmanager
def alone(root: Path, part: Part = WHOLE_PLAN) -> Iterator[None]:
    """Hold the workspace for as long as the block lasts; whoever holds it already, further out, is not waited for.

    Different parts of a plan run beside one another, and keep out runs of the whole. Raises DefectoryError where the
    disk has no locks.
    """
    if part == WHOLE_PLAN:
        with _hold(_lock_file(root), fcntl.LOCK_EX):
            yield
    else:
        with _hold(_lock_file(root), fcntl.LOCK_SH), _hold(_lock_file(root, f".{part}"), fcntl.LOCK_EX):
            yield


def descriptors() -> tuple[int, ...]:
    """For `pass_fds` of a program that works on a workspace held here: the lock lasts until that has ended, too."""
    return tuple(sorted(_held))


def _lock_file(root: Path, ending: str = "") -> Path:
    root = root.absolute()
    return root.parent / ".cache" / f"{root.name}{ending}.lock"


@contextmanager
def _hold(path: Path, kind: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _lock(file, kind | fcntl.LOCK_NB):
            token, _, holder = _read(file).partition(" ")
            if token in _tokens():
                yield
                return
            output.print(f"waiting for {holder or 'another run'}, which works on {path.parent.parent}", markup=False)
            _lock(file, kind)
        with _announced(file, kind == fcntl.LOCK_EX):
            yield


def _lock(file: IO[str], kind: int) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DefectoryError(
            f"{file.name}: this disk has no locks ({error.strerror}), so two runs could mix; use a root on another"
        ) from None
    return True


@contextmanager
def _announced(file: IO[str], is_exclusive: bool) -> Iterator[None]:
    """Write down who holds the lock, and tell it to the processes that are started meanwhile."""
    token = secrets.token_hex(16)
    _write(file, f"{token} process {os.getpid()} on {socket.gethostname()}" if is_exclusive else "")
    if is_exclusive:
        os.environ[_TOKENS] = " ".join([*_tokens(), token])
    _held.add(file.fileno())
    try:
        yield
    finally:
        _held.discard(file.fileno())
        if is_exclusive:
            os.environ[_TOKENS] = " ".join(one for one in _tokens() if one != token)
            _write(file, "")


def _tokens() -> list[str]:
    return os.environ.get(_TOKENS, "").split()


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


def _write(file: IO[str], text: str) -> None:
    file.truncate(0)  # opened to append, so what follows is at its beginning
    file.write(text)
    file.flush()
