"""Where the files of a version lie in its store: the remote a repository names, and dvc's addresses by content.

In: a checkout, and an output that a dvc.lock records. Out: the store, and the key of every file. Why not ask dvc:
a training machine reads a version without it, and a check must not trust what it checks.
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.contracts import DefectoryError, check_below
from tasks.store.s3 import KEY_VARIABLES, Store

if TYPE_CHECKING:
    from tasks.versions.locked import LockedOutput

_SECRETS = ("access_key_id", "secret_access_key", "session_token", "sse_customer_key", "password")
"""Options of a remote that must not be in `.dvc/config`, which git keeps for everybody."""
CONTENT = "files/md5/"
"""Where dvc keeps content in a remote: by the MD5 of the bytes, the first two digits a folder."""


@dataclass(frozen=True)
class Expected:
    """An object that a version needs."""

    name: str
    """Of the version's file, relative to the repository."""
    key: str
    md5: str
    size: int | None
    """Bytes, where a local file tells."""
    listing_key: str


def content_key(md5: str) -> str:
    return f"{CONTENT}{md5[:2]}/{md5[2:]}"


def files_of(store: Store, output: LockedOutput, repo: Path | None = None) -> Iterator[Expected]:
    """Every file of an output, as its listing in the store has it.

    Raises DefectoryError for a name that leads out of the output's folder.
    """
    for entry in json.loads(store.read(content_key(output.md5))):
        name = f"{output.path}/{check_below(entry['relpath'], f'the listing of {output.path}')}"
        local = repo / name if repo else None
        size = local.stat().st_size if local and local.is_file() else None
        yield Expected(name, content_key(entry["md5"]), entry["md5"], size, content_key(output.md5))


def remote_of(repo: Path, endpoint: str | None = None) -> Store:
    """The store of the repository's default remote. `.dvc/config.local` overrides `.dvc/config`, as in dvc.

    `endpoint` is another address of the store's server than the one that these give. Raises DefectoryError where there
    is no default remote, or a key is in `.dvc/config`.
    """
    _refuse_written_keys(repo / ".dvc" / "config")
    config = read_config(repo)
    section = default_remote(config, repo)
    return Store(config.get(section, "url"), endpoint or config.get(section, "endpointurl", fallback=None))


def _refuse_written_keys(path: Path) -> None:
    config = configparser.RawConfigParser()
    config.read(path, encoding="utf-8")
    if found := [name for section in config.sections() for name in _SECRETS if config.has_option(section, name)]:
        raise DefectoryError(
            f"{path} holds {', '.join(found)}, and git keeps it for everybody who clones: remove that, change the key "
            f"where it was committed, and set {KEY_VARIABLES}, or AWS_PROFILE"
        )


def read_config(repo: Path) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read([repo / ".dvc" / "config", repo / ".dvc" / "config.local"], encoding="utf-8")
    return config


def default_remote(config: configparser.RawConfigParser, repo: Path) -> str:
    """The section of the default remote."""
    section = "'remote \"{}\"'".format(config.get("core", "remote", fallback=""))
    if not config.has_section(section):
        raise DefectoryError(f"{repo / '.dvc' / 'config'}: no default remote; add one: dvc remote add -d store s3://…")
    return section
