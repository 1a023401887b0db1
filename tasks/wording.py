"""Words that several messages share."""

from __future__ import annotations

from collections.abc import Sequence


def first_few(names: Sequence[str], most: int = 5) -> list[str]:
    """The first `most` of many names or lines, and where there are more, how many."""
    beyond = len(names) - most
    return [*names[:most], *([f"and {beyond} more"] if beyond > 0 else [])]
