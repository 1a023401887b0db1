"""A store that fails in every way a store fails: no tag points at what cannot be pulled whole, and a second try mends.

Real git, dvc and SeaweedFS; between them and the store a proxy that can be bad.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import kill_publish
from benchmarks.killing import Zygote
from flows.server.local_store import local_store
from flows.versions.pull import pull
from flows.versions.repository import git, override_endpoint
from tasks.contracts import DefectoryError
from tasks.versions.remote import CONTENT, remote_of
from tests.conftest import KEY
from tests.faults.faulty_store import FaultyStore, Request, faulty_store


@pytest.fixture
def store(repo: Path, endpoint: str) -> Iterator[FaultyStore]:
    """The way from `repo` to its store."""
    with faulty_store(endpoint) as store:
        override_endpoint(repo, store.address)
        yield store


def is_upload(request: Request) -> bool:
    return request.method in ("PUT", "POST") and CONTENT in request.path


def refused(request: Request) -> None:
    if is_upload(request):
        request.refuse(503)


def broken_off(request: Request) -> None:
    if is_upload(request):
        request.break_off()


def refused_key(request: Request) -> None:
    """From the first upload on: the probe before was let in."""
    if is_upload(request):
        request.refuse(403)


def refused_listing(request: Request) -> None:
    """Of the directory: its files are in the store by then, and nothing says what they are."""
    if is_upload(request) and request.path.endswith(".dir"):
        request.refuse(500)


def forgotten(request: Request) -> None:
    """The store says yes and keeps nothing."""
    if is_upload(request) and not request.path.endswith(".dir"):
        request.refuse(200)


def slow(request: Request) -> None:
    time.sleep(0.1)


def test_uploads_that_fail_tag_nothing_and_a_run_that_reaches_the_store_makes_it_good(
    forks: Zygote, repo: Path, store: FaultyStore
) -> None:
    for fault in (refused, broken_off, refused_key, forgotten, refused_listing):
        store.fault = fault
        error = forks.attempt(kill_publish.RUN, repo).error
        what = "nothing was tagged" if fault is forgotten else "dvc push failed"
        assert f"DefectoryError: {what}" in error, f"{fault.__name__}: {error}"
        assert KEY.secret_key not in error
        assert git(repo, "tag", "--list") == ""
    store.fault = slow
    assert_published_whole(forks, repo)


def test_a_store_that_stops_in_an_upload_and_starts_again_has_the_version_whole(
    forks: Zygote, repo: Path, tmp_path: Path
) -> None:
    running = ExitStack()

    def start() -> str:
        return running.enter_context(local_store(tmp_path / "store", KEY.access_key, KEY.secret_key))

    def stop(request: Request) -> None:
        if is_upload(request):
            running.close()

    with running, faulty_store(start()) as store:
        override_endpoint(repo, store.address)
        store.fault = stop
        assert "DefectoryError: " in forks.attempt(kill_publish.RUN, repo).error
        assert git(repo, "tag", "--list") == ""
        store.fault = lambda request: None
        start()
        assert_published_whole(forks, repo)


def test_a_shard_that_rots_in_the_store_is_named_and_sent_again(forks: Zygote, repo: Path, tmp_path: Path) -> None:
    assert not forks.attempt(kill_publish.RUN, repo).error
    shard = next((repo / "data" / "release" / "images").rglob("*.parquet"))
    remote = remote_of(repo)
    key = next(key for key, stored in remote.listing(CONTENT).items() if stored.size == shard.stat().st_size)
    rotten = bytearray(shard.read_bytes())
    rotten[len(rotten) // 2] ^= 1
    remote._client.put_object(Bucket=remote.bucket, Key=remote._key(key), Body=bytes(rotten))
    with pytest.raises(DefectoryError, match=f"{shard.relative_to(repo)}: .* holds other bytes"):
        pull("cells-v1", repo, tmp_path / "damaged")
    assert_published_whole(forks, repo)


def assert_published_whole(forks: Zygote, repo: Path) -> None:
    """Publishing now works, tags once, and what is pulled is what was made, to the last byte."""
    for function in (kill_publish.RUN, kill_publish.CHECK):
        attempt = forks.attempt(function, repo)
        assert not attempt.error, attempt.error
    assert git(repo, "tag", "--list") == "cells-v1"
