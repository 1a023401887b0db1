"""Keys come from the environment or a profile, and are in nothing that is written or said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.factory import factory, resume
from flows.machines.deploy import publish_version
from flows.machines.fan_out import fan_out
from flows.machines.part import generate_part
from flows.server.server import prefect_server
from flows.terminal import EXIT_FAILED, run_to_status
from flows.versions.pull import pull
from flows.versions.repository import init_workspace, override_endpoint
from flows.versions.version_files import open_version
from tasks.contracts import DefectoryError
from tasks.params import Params, load_params
from tasks.store.addresses import check_address, without_credentials
from tasks.store.s3 import Store
from tests.flows.test_publish import DEAD, PARAMS

SECRET = "planted-S3CRET-0f9a"
URLS = [f"http://me:{SECRET}@127.0.0.1:9", f"https://{SECRET}@example.org/x", f"http://me:{SECRET}@example.org"]


def test_no_param_of_the_line_and_no_parameter_of_a_flow_is_a_key() -> None:
    words = ("secret", "password", "credential", "session_token", "access_key", "endpoint")
    names = json.dumps(list(_keys(Params.model_json_schema())))
    assert [word for word in words if word in names] == []
    places = {"params", "root", "repo", "tag", "store", "endpoint", "run"}
    for flow in (factory, resume, publish_version, fan_out, generate_part):
        assert set(flow.parameters.properties) <= places | {"parts", "patience", "index", "count"}


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from _keys(value)


def test_a_key_in_the_params_is_refused_and_not_told(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.format(samples=1) + f"store: {{secret_access_key: {SECRET}}}\n")
    with pytest.raises(DefectoryError, match="store: unknown key") as refused:
        load_params(path)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", URLS)
def test_an_address_with_a_password_is_refused_and_not_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".dvc").mkdir()
    for action in (
        lambda: Store("s3://bucket/x", url),
        lambda: Store(url.replace("http", "s3")),
        lambda: init_workspace(tmp_path / "workspace", "s3://bucket/x", url),
        lambda: override_endpoint(tmp_path, url),
        lambda: pull("v1", url, tmp_path / "pulled"),
        lambda: open_version("v1", url),
    ):
        assert run_to_status(action) == EXIT_FAILED
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    assert run_to_status(lambda: Store("s3://bucket/x").check_readable()) == EXIT_FAILED
    with temporary_settings({PREFECT_API_URL: url}):
        assert run_to_status(lambda: prefect_server().__enter__()) == EXIT_FAILED
    said = "".join(capfd.readouterr())
    assert said.count("error: ") == 8
    assert SECRET not in said
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_is_no_secret_in_an_address_stays() -> None:
    for address in ("ssh://git@host/x.git", "git@host:x.git", "https://host/x@y", "../folder", "s3://bucket/p@th"):
        assert (
            check_address(address, "repository", "") == without_credentials(address.replace("git@", ""))
            or "@" in address
        )
    assert (
        without_credentials(f"unable to access 'https://me:{SECRET}@host/x/'") == "unable to access 'https://host/x/'"
    )
    with pytest.raises(DefectoryError):
        check_address("ssh://git:password@host/x", "repository", "")


@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key", "session_token"])
def test_a_key_in_the_config_that_git_keeps_is_refused(tmp_path: Path, name: str) -> None:
    from tasks.versions.remote import remote_of

    (tmp_path / ".dvc").mkdir()
    section = "[core]\n    remote = store\n['remote \"store\"']\n    url = s3://bucket/x\n"
    (tmp_path / ".dvc" / "config").write_text(f"{section}    {name} = {SECRET}\n")
    with pytest.raises(DefectoryError, match=f"holds {name}, and git keeps it") as refused:
        remote_of(tmp_path)
    assert SECRET not in str(refused.value)


def test_a_program_that_gives_keys_and_fails_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = sh -c 'echo {SECRET} >&2; exit 1'\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "p")
    with pytest.raises(DefectoryError, match="custom-process failed") as refused:
        Store("s3://bucket/x", DEAD).check_readable()
    assert SECRET not in str(refused.value)
