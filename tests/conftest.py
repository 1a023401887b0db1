"""What tests of several stations share: one real S3 store for the session, and a tiny release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flows.server.local_store import StoreKey, local_store

KEY = StoreKey("tester", "a-secret-of-the-tests")
_THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def _arithmetic() -> Iterator[None]:
    """A test that fixes its process's arithmetic leaves it to the next as it was."""
    torch.set_num_threads(_THREADS)
    yield
    torch.set_num_threads(_THREADS)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def deterministic() -> None:
    """Torch chooses its algorithms as in a process that paints: on some devices others than it would by itself."""
    torch.use_deterministic_algorithms(True, warn_only=True)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a SeaweedFS that runs as long as the tests do."""
    with local_store(tmp_path_factory.mktemp("store"), KEY.access_key, KEY.secret_key) as address:
        yield address


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all tests, with a database of its own."""
    from flows.server.server import embedded_server, records_in

    with records_in(tmp_path_factory.mktemp("prefect")), embedded_server() as address:
        yield address


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StoreKey:
    """The store's key in the environment, and nothing of the user's own settings."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in KEY.environment().items():
        monkeypatch.setenv(name, value)
    return KEY


@pytest.fixture(scope="session")
def published(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the two versions of `tests.two_versions`; for reading only."""
    from tests.two_versions import publish_two

    return publish_two(tmp_path_factory.mktemp("two"), endpoint)


@pytest.fixture
def two_versions(published: Path, key: StoreKey) -> Path:
    return published
