"""Whatever publishing does and however it fails, no key is in anything that is written or said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kill_trees
from flows.looking.tables import show_findings
from flows.publish import publish
from flows.terminal import EXIT_FAILED, run_to_status
from flows.versions.repository import git, init_workspace, override_endpoint
from tests.conftest import KEY
from tests.flows.test_publish import DEAD, PARAMS, PROJECT, STAGES
from tests.security.test_secrets import SECRET


def written(folder: Path) -> Iterator[bytes]:
    """Every file below a folder, and every object that git keeps there, unpacked."""
    yield from (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for repo in folder.rglob(".git"):
        yield git(repo.parent, "log", "--all", "--patch", "--text").encode()


def use_profile(path: Path, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"[factory]\naws_access_key_id = {KEY.access_key}\naws_secret_access_key = {secret}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "factory")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_run_with_a_server_of_its_own_keeps_no_key_in_database_logs_or_data(
    endpoint: str, key: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "keys"
    kill_trees.lay_out(repo, endpoint)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def status_with(secret: str) -> int:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        return kill_trees.start(repo).wait()

    refused, done = status_with(SECRET), status_with(KEY.secret_key)
    said = (repo / "publish.log").read_bytes()
    assert refused == EXIT_FAILED
    assert b"refuses the key" in said
    assert not done, said.decode()
    assert (tmp_path / "prefect" / "prefect.db").is_file()
    everything = b"".join([said, *written(tmp_path)])
    assert [secret for secret in (SECRET, KEY.secret_key) if secret.encode() in everything] == []


def test_publishing_and_the_doctor_say_and_write_no_key_whatever_fails(
    endpoint: str, key: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    repo = tmp_path / "workspace"
    repo.mkdir()
    (repo / "dvc.yaml").write_text(STAGES)
    (repo / "params.yaml").write_text(PARAMS.format(samples=3))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    use_profile(tmp_path / "right", KEY.secret_key, monkeypatch)
    init_workspace(repo, "s3://datasets/secrets-tests", endpoint)
    assert publish(repo, announce=print).is_new

    def push_refused(step: str) -> None:
        if step == "dvc push":
            use_profile(tmp_path / "wrong", SECRET, monkeypatch)

    (repo / "params.yaml").write_text(PARAMS.format(samples=4))
    git(repo, "commit", "-qam", "4 samples")
    assert run_to_status(lambda: publish(repo, announce=push_refused)) == EXIT_FAILED
    assert run_to_status(lambda: publish(repo)) == EXIT_FAILED
    assert run_to_status(lambda: show_findings(repo / "params.yaml", repo / "data", repo)) == EXIT_FAILED
    override_endpoint(repo, DEAD)
    assert run_to_status(lambda: publish(repo)) == EXIT_FAILED
    said = "".join(capfd.readouterr())
    assert "Forbidden" in said
    assert said.count("refuses the key") == 2
    assert "does not answer" in said
    everything = b"".join([said.encode(), *written(repo)])
    assert [secret for secret in (SECRET, KEY.secret_key) if secret.encode() in everything] == []
