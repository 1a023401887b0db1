"""What the tests of faults share: a process from which attempts are forked, and one undisturbed run of the line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kill_line, kill_publish
from benchmarks.killing import Zygote, zygote
from tests.conftest import KEY

SUBJECTS = ("benchmarks.kill_line", "benchmarks.kill_publish", "tests.faults.subjects")


@pytest.fixture(scope="session")
def forks(server: str, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Attempts report to the tests' Prefect server and have the store's key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", "none")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        for name, value in KEY.environment().items():
            patch.setenv(name, value)
        with zygote(tmp_path_factory.mktemp("zygote") / "log", *SUBJECTS) as forks:
            yield forks


@pytest.fixture(scope="session")
def undisturbed(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace through which the line has run once; beside its data, `writes.txt` names its writes in order."""
    folder = tmp_path_factory.mktemp("line") / "undisturbed"
    kill_line.lay_out(folder)
    attempt = forks.attempt(kill_line.RUN, folder)
    assert not attempt.error, attempt.error
    (folder / "writes.txt").write_text("\n".join(attempt.writes), encoding="utf-8")
    return folder


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    """Photographs and params, and nothing made of them."""
    kept = shutil.ignore_patterns("data", ".cache", "writes.txt")
    return Path(shutil.copytree(undisturbed, tmp_path / "workspace", ignore=kept))


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed workspace, to be damaged."""
    return Path(shutil.copytree(undisturbed, tmp_path / "finished"))


@pytest.fixture
def repo(undisturbed: Path, tmp_path: Path, endpoint: str, key: object) -> Path:
    """A repository that would publish the undisturbed run's release."""
    kill_publish.lay_out(tmp_path / "repo", undisturbed / "data", undisturbed / "params.yaml", endpoint)
    return tmp_path / "repo"
