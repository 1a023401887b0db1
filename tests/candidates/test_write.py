import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.candidates.files import shard_files
from tasks.candidates.read import is_done
from tasks.candidates.verify import verify_shards
from tasks.candidates.write import write_shard
from tasks.contracts import DefectoryError, ShardPlan
from tasks.plan import plan_shards
from tests.factories import make_inputs, make_params, make_shard

PARAMS = make_params(64, samples=3, shard_size=3)
INPUTS = make_inputs(64, ("mono",))
PLAN = plan_shards(PARAMS, INPUTS, "model")[0]
OTHER_PLAN = plan_shards(PARAMS, INPUTS, "another model")[0]
MADE = make_shard(PLAN, PARAMS, INPUTS, failed=frozenset({"mono-000001"}))
CALLS = ("fsync", "replace", "unlink")


class Killed(BaseException):
    """Nothing between the call and the test may run on it, as nothing runs after a kill."""


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Die instead of making the `count`-th call, from 0, that makes something durable; returns the calls made."""
    made: list[str] = []

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if len(made) == count:
                raise Killed
            made.append(name)
            return real(*arguments)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, dying(name, getattr(os, name)))
    return made


def test_the_same_shard_twice_is_the_same_bytes_whatever_the_order_and_the_time_it_took(tmp_path: Path) -> None:
    candidates, failures = MADE
    write_shard(tmp_path / "one", PLAN, candidates, failures)
    write_shard(tmp_path / "two", PLAN, candidates[::-1], failures)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    assert set(files_below(tmp_path / "one")) == {
        f"mono/00000{end}" for end in (".parquet", ".scores.parquet", ".done.json")
    }
    assert is_done(tmp_path / "one", PLAN)
    assert verify_shards(tmp_path / "one", [PLAN]) == []


def test_a_kill_between_any_two_steps_leaves_no_done_shard_and_a_second_try_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "calm", PLAN, *MADE)
    expected = files_below(tmp_path / "calm")
    for count in range(100):
        root = tmp_path / str(count)
        with monkeypatch.context() as patch:
            made = kill_at(patch, count)
            try:
                write_shard(root, PLAN, *MADE)
                break
            except Killed:
                pass
        # The last step is to make the marker's name durable: the marker is there then, and true.
        assert not is_done(root, PLAN) or files_below(root) == expected
        write_shard(root, PLAN, *MADE)
        left = {name: data for name, data in files_below(root).items() if not name.endswith(".partial")}
        assert left == expected
    assert made.count("replace") == 3
    assert count == 9


def test_a_kill_while_a_shard_is_made_anew_never_leaves_the_old_marker_for_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_shard(OTHER_PLAN, PARAMS, INPUTS)
    for count in range(11):
        root = tmp_path / str(count)
        write_shard(root, PLAN, *MADE)
        before = files_below(root)
        with monkeypatch.context() as patch:
            kill_at(patch, count)
            with pytest.raises(Killed):
                write_shard(root, OTHER_PLAN, *other)
        if is_done(root, PLAN):
            assert {name: data for name, data in files_below(root).items() if name in before} == before
        if is_done(root, OTHER_PLAN):
            assert verify_shards(root, [OTHER_PLAN]) == []


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"files": 3}', b'{"fingerprint": "f"}'])
def test_a_torn_marker_means_not_done(tmp_path: Path, torn: bytes) -> None:
    write_shard(tmp_path, PLAN, *MADE)
    shard_files(tmp_path, PLAN).marker.write_bytes(torn)
    assert not is_done(tmp_path, PLAN)


def test_another_fingerprint_or_a_shortened_file_means_not_done(tmp_path: Path) -> None:
    write_shard(tmp_path, PLAN, *MADE)
    assert not is_done(tmp_path, OTHER_PLAN)
    images = shard_files(tmp_path, PLAN).images
    images.write_bytes(images.read_bytes()[:-1])
    assert not is_done(tmp_path, PLAN)


def test_a_shard_that_is_not_exactly_the_plan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    candidates, failures = MADE
    for wrong in ((candidates[1:], failures), (candidates, []), ([*candidates, candidates[0]], failures)):
        with pytest.raises(DefectoryError, match=r"mono/00000.*mono-00000"):
            write_shard(tmp_path, PLAN, *wrong)
    with pytest.raises(DefectoryError, match="not planned"):
        write_shard(tmp_path, ShardPlan("mono", 0, PLAN.specs[:1], ""), *MADE)
    assert files_below(tmp_path) == {}


def test_a_full_disk_is_one_clear_line_and_leaves_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DefectoryError, match=r"00000\.parquet: no disk space left.*resume"):
        write_shard(tmp_path, PLAN, *MADE)
    assert files_below(tmp_path) == {}


def test_a_shard_of_failures_alone_is_a_shard(tmp_path: Path) -> None:
    nothing = make_shard(PLAN, PARAMS, INPUTS, failed=frozenset(spec.sample_id for spec in PLAN.specs))
    write_shard(tmp_path, PLAN, *nothing)
    assert is_done(tmp_path, PLAN)


def test_inputs_are_not_changed_by_writing(tmp_path: Path) -> None:
    before = [candidate.image.copy() for candidate in MADE[0]]
    write_shard(tmp_path, PLAN, *MADE)
    for candidate, image in zip(MADE[0], before, strict=True):
        np.testing.assert_array_equal(candidate.image, image)
