"""What a person sees of a run: progress with the time left, and one clear line when it cannot go on.

On a terminal progress is a bar; anywhere else a line now and then, so that a log can be read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tasks.contracts import DefectoryError
from tasks.progress import Report

P = ParamSpec("P")

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_LINE_SECONDS = 10.0

output = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def progress() -> Iterator[Report]:
    """Show how far each thing is that is reported while the block lasts."""
    if not output.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output) as shown:
        yield _Bars(shown)


class _Bars:
    """A bar for each thing; it appears with the first report."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._bars: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            self._bars[what] = self._shown.add_task(what, total=total)
        self._shown.update(self._bars[what], completed=done, total=total)


class _Lines:
    """A line at a thing's first report, at its last, and at most every ten seconds between."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[int, float]] = {}
        self._last_line = float("-inf")

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        is_new = what not in self._begun
        first, start = self._begun.setdefault(what, (done, now))
        if is_new or done >= total or now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            output.print(f"{what}: {done} of {total}{_left(done - first, total - done, now - start)}", markup=False)


def _left(made: int, missing: int, seconds: float) -> str:
    return f", about {duration(missing * seconds / made)} left" if made > 0 and missing > 0 else ""


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes in the unit that a person would use."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def run_to_status(action: Callable[[], object]) -> int:
    """Run an action and return the exit status; what the user can mend is one line on stderr, never a traceback."""
    try:
        action()
    except DefectoryError as error:
        errors.print(f"error: {error}", markup=False, style="red")
        return EXIT_FAILED
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        errors.print(f"error: {_describe(error)}", markup=False, style="red")
        return EXIT_FAILED
    except KeyboardInterrupt:
        errors.print("interrupted; what is finished is kept, the same command goes on from there")
        return EXIT_INTERRUPTED
    return EXIT_OK


def exit_with(action: Callable[[], object]) -> NoReturn:
    sys.exit(run_to_status(action))


def verb(function: Callable[P, object]) -> Callable[P, None]:
    """Make a function a verb: it ends with an exit status, as `run_to_status` says, and never with a traceback.

    Its options are still those of the function's signature.
    """

    @wraps(function)
    def run(*given: P.args, **named: P.kwargs) -> None:
        raise typer.Exit(run_to_status(partial(function, *given, **named)))

    return run


def _describe(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    hint = "; free some space and run the same command again" if error.errno == 28 else ""
    return f"{where}{error.strerror}{hint}"
