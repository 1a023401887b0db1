"""tasks/store/s3.py and flows/server/local_store.py against a real S3 server."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.server.local_store import StoreKey, local_store, store_key
from tasks.contracts import DefectoryError
from tasks.store.s3 import Store, UnreachableStoreError
from tests.interruptible import take_interrupts

URL = "s3://datasets/store-tests"


def test_probe_passes_and_leaves_nothing_behind(endpoint: str, key: StoreKey) -> None:
    store = Store(URL, endpoint)
    store.probe()
    assert store.listing() == {}


def test_listing_has_sizes_and_the_md5_as_etag(endpoint: str, key: StoreKey) -> None:
    store = Store(f"{URL}/listing", endpoint)
    store._client.put_object(Bucket="datasets", Key="store-tests/listing/a/b", Body=b"hello")
    assert store.read("a/b") == b"hello"
    stored = store.listing("a/")["a/b"]
    assert (stored.size, stored.etag) == (5, "5d41402abc4b2a76b9719d911017c592")
    assert store.md5("a/b") == stored.etag
    store.delete("a/b")
    assert store.listing() == {}
    with pytest.raises(DefectoryError, match=r"no object a/b below s3://datasets/store-tests/listing"):
        store.read("a/b")


def test_a_wrong_key_is_refused_without_showing_it(
    endpoint: str, key: StoreKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    with pytest.raises(DefectoryError, match=r"refuses the key .*AWS_ACCESS_KEY_ID") as wrong_secret:
        Store(URL, endpoint).probe()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone-else")
    with pytest.raises(DefectoryError, match=r"refuses the key") as wrong_name:
        Store(URL, endpoint).probe()
    for text in (str(wrong_secret.value), str(wrong_name.value)):
        assert "hunter2" not in text
        assert "someone-else" not in text


def test_no_key_at_all_names_the_variables(endpoint: str, key: StoreKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(DefectoryError, match=r"no key for the store .*AWS_SECRET_ACCESS_KEY"):
        Store(URL, endpoint).probe()


def test_a_missing_bucket_is_named(endpoint: str, key: StoreKey) -> None:
    with pytest.raises(DefectoryError, match=r"has no bucket 'nowhere'"):
        Store("s3://nowhere/x", endpoint).probe()


def test_a_store_that_is_down_names_its_address(key: StoreKey) -> None:
    with socket.socket() as listener:  # bound, not listening: connections are refused
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UnreachableStoreError, match=f"the store at {address} does not answer"):
            Store(URL, address).probe()


@pytest.mark.parametrize("url", ["https://server/datasets", "datasets/x", "s3://", ""])
def test_an_address_that_is_no_s3_address_is_refused(url: str) -> None:
    with pytest.raises(DefectoryError, match=r"expected s3://bucket/prefix"):
        Store(url)


@pytest.mark.parametrize("address", ["127.0.0.1:8333", "s3://server", "http://"])
def test_an_endpoint_that_is_no_http_address_is_refused(address: str) -> None:
    with pytest.raises(DefectoryError, match=r"endpoint"):
        Store(URL, address)


def test_the_key_is_random_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = store_key(tmp_path / "a")
    assert store_key(tmp_path / "a") == first
    assert store_key(tmp_path / "b") != first
    assert stat.S_IMODE((tmp_path / "a" / "key").stat().st_mode) == 0o600
    assert first.secret_key not in repr(first)


def test_two_stores_run_side_by_side_and_data_outlives_a_restart(endpoint: str, key: StoreKey, tmp_path: Path) -> None:
    with local_store(tmp_path, key.access_key, key.secret_key) as second:
        assert second != endpoint
        Store(URL, second)._client.put_object(Bucket="datasets", Key="store-tests/kept", Body=b"kept")
    assert not _accepts(int(second.rsplit(":")[-1]))
    with local_store(tmp_path, key.access_key, key.secret_key) as again:
        assert again == second
        assert Store(URL, again).read("kept") == b"kept"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.secret_key.encode() not in written


_HOLDER = """
import sys, time
from pathlib import Path
from flows.server.local_store import local_store
with local_store(Path(sys.argv[1]), "a", "b-secret"):
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_the_store_ends_with_the_run_that_started_it(tmp_path: Path, ending: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=take_interrupts,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"up\n"
    port = int((tmp_path / "port").read_text())
    os.kill(run.pid, ending)
    run.wait(30)
    run.stdout.close()
    deadline = time.monotonic() + 30
    while _accepts(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _accepts(port)


def _accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
