"""Bring a published version into a fresh folder: clone at the tag, check the store, dvc pull.

In: a tag, the repository it is in, and a folder. Out: `<folder>/data/release`, its bytes those that were
published. Why the check before: dvc names a missing object by its hash, a reader wants the file's name.
"""

from __future__ import annotations

from pathlib import Path

from flows.remote import check_remote
from flows.repository import dvc, git, override_endpoint, remote_of
from tasks.contracts import DefectoryError
from tasks.versions import RELEASE, outputs_of


def pull(tag: str, repo: str | Path, destination: Path, endpoint: str | None = None) -> Path:
    """Clone `repo` (a folder or an address) at `tag` into `destination` and pull its release; returns the folder.

    `endpoint` overrides the server's address in the clone's own settings. An interrupted pull is taken up
    again. Raises DefectoryError when there is no such tag, `destination` holds anything else, or the store
    does not have the version whole.
    """
    _clone(tag, repo, destination)
    if endpoint:
        override_endpoint(destination, endpoint)
    output = outputs_of(destination, tag).get(RELEASE)
    if output is None:
        raise DefectoryError(f"{destination}: the version {tag!r} holds no {RELEASE}")
    problems = check_remote(remote_of(destination), [output]).problems
    if problems:
        raise DefectoryError(
            "\n  ".join([f"the store does not have {tag!r} whole:", *(problem.text for problem in problems[:10])])
        )
    dvc(destination, "pull", RELEASE)
    return destination / RELEASE


def _clone(tag: str, repo: str | Path, destination: Path) -> None:
    if destination.exists() and any(destination.iterdir()):
        if not (destination / ".git").exists() or tag not in git(destination, "tag", "--points-at", "HEAD").split():
            raise DefectoryError(f"{destination} holds something else than {tag!r}: give an empty folder")
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    source = str(Path(repo).resolve()) if Path(repo).exists() else str(repo)
    git(destination.parent, "clone", "--quiet", "--branch", tag, "--", source, destination.name)
