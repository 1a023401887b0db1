"""The lock of a workspace, taken by real processes, one of which is killed while it holds it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.line.lock import alone, exclusive
from tasks.plan import WHOLE_PLAN, Part

FIRST, SECOND = Part(0, 2), Part(1, 2)

_HOLDER = """
import sys
from pathlib import Path
from flows.line.lock import alone
from tasks.plan import Part

with alone(Path(sys.argv[1]), Part(*map(int, sys.argv[2:]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(root: Path, part: Part = WHOLE_PLAN) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock, or waits for it, until its input ends."""
    command = [sys.executable, "-c", _HOLDER, str(root), str(part.index), str(part.count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        end(process)
        process.stdout.close()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_run_says_once_whom_it_waits_for_and_goes_on(tmp_path: Path) -> None:
    with holder(tmp_path / "data") as first:
        assert said(first) == "held"
        with holder(tmp_path / "data") as second:
            waits = said(second)
            assert waits.startswith(f"waiting for process {first.pid} on ")
            assert waits.endswith(f", which works on {tmp_path}")
            end(first)
            assert said(second) == "held"


def test_a_killed_holder_leaves_nothing_to_clear_up(tmp_path: Path) -> None:
    with holder(tmp_path / "data") as other:
        assert said(other) == "held"
        other.kill()
        other.wait(60)
        with holder(tmp_path / "data") as next_one:
            assert said(next_one) == "held"


def test_a_process_of_the_run_itself_is_not_kept_out(tmp_path: Path) -> None:
    with alone(tmp_path / "data"), alone(tmp_path / "data"):
        with holder(tmp_path / "data") as stage:
            assert said(stage) == "held"
        with holder(tmp_path / "data") as stage:  # the first one's end has not freed the lock for strangers
            assert said(stage) == "held"


def test_a_token_of_a_run_that_is_over_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone(tmp_path / "data"):
        token = (tmp_path / ".cache" / "data.lock").read_text().split()[0]
    monkeypatch.setenv("DEFECTORY_LOCKS", token)
    with holder(tmp_path / "data") as other:
        assert said(other) == "held"
        with holder(tmp_path / "data") as stranger:
            assert said(stranger).startswith(f"waiting for process {other.pid} ")
            end(other)
            assert said(stranger) == "held"


def test_parts_run_beside_one_another_and_keep_out_the_whole(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with holder(root, FIRST) as first, holder(root, SECOND) as second:
        assert (said(first), said(second)) == ("held", "held")
        with holder(root, FIRST) as same, holder(root) as whole:
            assert said(same).startswith(f"waiting for process {first.pid} ")
            assert said(whole).startswith("waiting for another run")
            end(first)
            assert said(same) == "held"
            end(second)
            end(same)
            assert said(whole) == "held"


def test_other_workspaces_are_other_locks(tmp_path: Path) -> None:
    with alone(tmp_path / "data"), holder(tmp_path / "other") as other:
        assert said(other) == "held"


def test_a_stage_is_found_by_its_root_however_it_is_called(tmp_path: Path) -> None:
    @exclusive
    def stage(params: Path, root: Path = tmp_path / "data") -> bool:
        return (tmp_path / ".cache" / f"{root.name}.lock").read_text() != ""

    assert stage(tmp_path)
    assert stage(tmp_path, root=tmp_path / "elsewhere")
    assert (tmp_path / ".cache" / "elsewhere.lock").read_text() == "", "it is free again"
