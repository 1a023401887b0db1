"""A part of a plan, for one of several workers: the rule that says which shards it has.

In: a part's number and how many there are. Out: its shards. Nobody hands them out: the plan is the same wherever it is
made, so every worker finds its own, and a SLURM array, `xargs` or a queue of any kind will do.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def of(self, plans: Sequence[ShardPlan]) -> tuple[ShardPlan, ...]:
        """Every `count`-th shard, so that parts differ by one shard at most and each has some of every category."""
        return tuple(plans[self.index :: self.count])


WHOLE = Part()
