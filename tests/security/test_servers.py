"""Servers answer this machine alone unless told otherwise, and then whoever has the password."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from prefect import get_client
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_API_AUTH_STRING, temporary_settings
from typer.testing import CliRunner

from flows.cli import app
from flows.server.access import check_host
from flows.server.local_store import StoreKey, local_store
from flows.server.server import embedded_server, open_to_other_runs
from flows.terminal import EXIT_FAILED
from tasks.contracts import DefectoryError

PASSWORD = "somebody:planted-password-7c1e"


def answer(address: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers, as a stranger's program or a page in a browser gets them."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with build_opener(ProxyHandler({})).open(Request(address, body, named, method=method), timeout=60) as got:
            return got.status, dict(got.headers)
    except HTTPError as error:
        return error.code, dict(error.headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.7.7", "::", "example.org"])
def test_up_beyond_loopback_is_refused_without_a_password(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.server.server.supervised", lambda *_: pytest.fail("a server was started"))
    with temporary_settings(restore_defaults={PREFECT_SERVER_API_AUTH_STRING}):
        ended = CliRunner().invoke(app, ["up", "--host", host])
    assert ended.exit_code == EXIT_FAILED
    assert f"--host {host}" in ended.output
    assert "set PREFECT_SERVER_API_AUTH_STRING" in ended.output


@pytest.mark.parametrize("password", ["", None])
@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1"])
def test_an_empty_password_is_none(host: str, password: str | None) -> None:
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: password}), pytest.raises(DefectoryError, match=host):
        check_host(host)
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: PASSWORD}):
        check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_no_password(host: str) -> None:
    with temporary_settings(restore_defaults={PREFECT_SERVER_API_AUTH_STRING}):
        check_host(host)


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server beyond loopback that demands a password, and its folder."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", PASSWORD)
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setattr("flows.server.server._START_SECONDS", 300.0)
        settings = {PREFECT_HOME: home, PREFECT_SERVER_API_AUTH_STRING: PASSWORD}
        with (
            temporary_settings(settings),
            embedded_server(host="0.0.0.0") as address,
            open_to_other_runs(address),
        ):
            yield address, home


def test_a_stranger_is_refused_and_our_own_runs_are_let_in(guarded_server: tuple[str, Path]) -> None:
    address, home = guarded_server
    assert address.startswith("http://127.0.0.1:")
    wrong = base64.b64encode(b"somebody:else").decode()
    right = base64.b64encode(PASSWORD.encode()).decode()
    assert answer(f"{address}/flows/filter", "POST", b"{}")[0] in (401, 403)
    assert answer(f"{address}/admin/settings")[0] == 401
    assert answer(f"{address}/admin/settings", Authorization=f"Basic {wrong}")[0] == 401
    assert answer(f"{address}/admin/version", Authorization=f"Basic {right}")[0] == 200
    assert os.environ["PREFECT_API_AUTH_STRING"] == PASSWORD, "processes that a run starts have it"
    with get_client(sync_client=True) as client:
        assert client.read_flows() == []
        client.create_flow_from_name("ours")
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"ours" in written
    assert PASSWORD.partition(":")[2].encode() not in written


def test_a_page_of_another_site_can_neither_read_nor_change(guarded_server: tuple[str, Path]) -> None:
    address, _ = guarded_server
    right = f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"
    own = address.removesuffix("/api")
    for origin, allowed in ((own, own), (own.replace("127.0.0.1", "localhost"), None), ("https://evil.example", "")):
        headers = answer(f"{address}/admin/version", Authorization=right, Origin=origin)[1]
        found = headers.get("access-control-allow-origin", "")
        assert found == (origin if allowed is None else allowed)
    # What a page may send without asking first: a plain POST.
    status, _ = answer(f"{address}/flows/", "POST", b'{"name": "theirs"}', Authorization=right)
    assert status == 403


def test_the_local_store_refuses_whoever_has_no_key(endpoint: str, key: StoreKey) -> None:
    for path in ("", "datasets", "datasets/?list-type=2", "datasets/x"):
        assert answer(f"{endpoint}/{path}")[0] == 403
    assert answer(f"{endpoint}/datasets/x", "PUT", b"content")[0] == 403
    assert endpoint.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("key", [("", "secret"), ("access", "")])
def test_a_local_store_without_a_key_is_not_started(tmp_path: Path, key: tuple[str, str]) -> None:
    with pytest.raises(DefectoryError, match="needs an access key and a secret key"), local_store(tmp_path, *key):
        pytest.fail("it was started")
    assert list(tmp_path.iterdir()) == []
