"""Parts of a plan: every shard in one of them."""

from __future__ import annotations

import pytest

from tasks.contracts import DefectoryError
from tasks.plan import WHOLE_PLAN, Part, plan_shards
from tests.factories import make_inputs, make_params

PLANS = plan_shards(make_params(samples=40, shard_size=4), make_inputs(), "model")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_parts_have_every_shard_once_in_the_plans_order(count: int) -> None:
    parts = [Part(index, count).of(PLANS) for index in range(count)]
    assert sorted(plan.name for part in parts for plan in part) == sorted(plan.name for plan in PLANS)
    assert all(part == tuple(plan for plan in PLANS if plan in part) for part in parts)


def test_the_whole_is_the_plan() -> None:
    assert WHOLE_PLAN.of(PLANS) == PLANS


def test_parts_are_even_and_have_some_of_every_category() -> None:
    for count in (2, 3, 7):
        sizes = [len(Part(index, count).of(PLANS)) for index in range(count)]
        assert max(sizes) - min(sizes) <= 1
    assert all({plan.category for plan in Part(index, 3).of(PLANS)} == {"mono", "poly"} for index in range(3))


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0), (0, -1)])
def test_a_part_that_is_none_is_refused(index: int, count: int) -> None:
    with pytest.raises(DefectoryError, match=rf"part {index} of {count}: .*--shard-index"):
        Part(index, count)
