"""A part of a plan, for one of several workers: the rule that says which shards it has.

In: a part's number and how many there are. Out: its shards. Nobody hands them out: every worker finds its own by the
shards' names, wherever it runs, so that a SLURM array, `xargs` or a queue of any kind will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.contracts import DefectoryError, ShardPlan


@dataclass(frozen=True)
class Part:
    """One of `count` parts, which together have every shard once. Raises DefectoryError where `index` is not in it."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise DefectoryError(
                f"part {self.index} of {self.count}: expected --shard-index from 0 to below --shard-count"
            )

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def of(self, plans: Iterable[ShardPlan]) -> tuple[ShardPlan, ...]:
        """The shards of this part, in the plan's order."""
        return tuple(plan for plan in plans if _address(plan.name) % self.count == self.index)


WHOLE = Part()


def _address(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
