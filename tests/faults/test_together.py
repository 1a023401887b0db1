"""Two runs at once on one workspace, and a clock that jumps: the data know of neither."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks import kill_line
from benchmarks.killing import Zygote
from tests.factory_fixtures import hashes
from tests.faults import subjects


@pytest.mark.parametrize("subject", [subjects.TWICE, subjects.JUMPING])
def test_the_bytes_are_those_of_one_quiet_run(forks: Zygote, undisturbed: Path, folder: Path, subject: str) -> None:
    attempt = forks.attempt(subject, folder)
    assert not attempt.error, attempt.error
    assert hashes(folder / "data") == hashes(undisturbed / "data")


def test_files_from_the_future_are_finished_all_the_same(forks: Zygote, undisturbed: Path, finished: Path) -> None:
    shards = [path for path in (finished / "data" / "candidates").rglob("*") if path.is_file()]
    for number, path in enumerate(shards):
        os.utime(path, (time.time() + (-1) ** number * 10**9,) * 2)
    attempt = forks.attempt(kill_line.RUN, finished)
    assert not attempt.error, attempt.error
    assert not [write for write in attempt.writes if "candidates/mono" in write or "candidates/poly" in write]
    assert hashes(finished / "data") == hashes(undisturbed / "data")
