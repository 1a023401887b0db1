"""A publishing that is killed where dvc and git write files that they do not replace as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import kill_publish
from benchmarks.killing import Instant, Zygote
from flows.versions.mend import mend
from flows.versions.repository import LOCK, git

CHOSEN = (
    Instant("open .dvc/tmp/rwlock", torn=True),
    Instant("os.mkdir .dvc/cache/files"),
    Instant("open dvc.lock", torn=True),
    Instant("socket.connect 3"),
)


def test_a_publishing_that_is_killed_again_and_again_ends_in_one_version_that_can_be_pulled(
    forks: Zygote, repo: Path
) -> None:
    for instant in CHOSEN:
        attempt = forks.attempt(kill_publish.RUN, repo, instant)
        assert attempt.killed, f"{instant}: {attempt.error or 'never came'}"
        assert git(repo, "tag", "--list") == ""
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.write_text('#!/bin/sh\nrm "$0"\nkill -KILL 0\n')  # while git holds the branch
    hook.chmod(0o755)
    assert forks.attempt(kill_publish.RUN, repo).killed
    assert list((repo / ".git").rglob("*.lock"))
    (repo / ".git" / "index.lock").touch()
    for function in (kill_publish.RUN, kill_publish.CHECK):
        last = forks.attempt(function, repo)
        assert not last.error, last.error


def test_half_a_record_of_a_run_and_the_folder_that_it_leaves_empty_stop_no_later_publishing(
    forks: Zygote, repo: Path
) -> None:
    attempt = forks.attempt(kill_publish.RUN, repo, Instant("socket.connect 3"))
    record = next(write for write in attempt.writes if write.startswith("open .dvc/cache/runs/"))
    shutil.rmtree(repo / ".dvc" / "cache")
    (repo / LOCK).unlink()
    assert forks.attempt(kill_publish.RUN, repo, Instant(record, torn=True)).killed
    last = forks.attempt(kill_publish.RUN, repo)
    assert not last.error, last.error
    assert git(repo, "tag", "--list") == "cells-v1"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_part_of_dvcs_lock_file_makes_way_for_the_committed_one(repo: Path, share: float) -> None:
    whole = "schema: '2.0'\nstages:\n  release:\n    cmd: x\n    outs:\n    - path: data/release\n      md5: 12.dir\n"
    (repo / LOCK).write_text(whole)
    git(repo, "add", LOCK)
    git(repo, "commit", "-qm", "a version")
    part = whole[: int(len(whole) * share)]
    (repo / LOCK).write_text(part)
    mend(repo)
    assert (repo / LOCK).read_text() == whole
