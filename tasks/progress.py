"""How long work says how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""(steps done, steps in all)."""

Report = Callable[[str, int, int], None]
"""(what is being done, steps done, steps in all); called often, so it must be cheap."""


def silent(what: str, done: int, total: int) -> None:
    """A `Report` that nobody listens to."""
