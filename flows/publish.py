"""Make a version: preflight, dvc repro, verify, dvc push, check of the remote, commit and tag.

In: a git and dvc repository whose params.yaml says what is wanted. Out: the version's tag, given only
when every object of it is in the store. This is the only caller of dvc besides a person. Interrupted or
failed anywhere, it is run again: what is finished is not repeated, and unchanged data pushes 0 bytes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.line.lock import alone
from flows.versions.mend import mend
from flows.versions.remote_check import RemoteCheck, added, check_remote, forget
from flows.versions.repository import LOCK, RESOLVED, dvc, git, has_identity
from tasks.contracts import DefectoryError
from tasks.params import load_params
from tasks.store.s3 import Store
from tasks.versions.locked import RELEASE, LockedOutput, locked_outputs, outputs_of
from tasks.versions.pulled import ReleaseDataset
from tasks.versions.remote import CONTENT, remote_of
from tasks.wording import first_few
from tasks.workspace import ROOT

_STAGE = "release"
"""What a version needs. Its evaluation takes longer and is made when somebody asks: `dvc repro evaluate`."""


@dataclass(frozen=True)
class Publication:
    """What publishing came to."""

    tag: str
    """Of the version that holds this release; an earlier one when nothing changed."""
    is_new: bool
    pushed_files: int
    pushed_bytes: int
    checked_objects: int
    """Found in the store, with the right size and hash."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By step."""


def publish(repo: Path, tag: str | None = None, announce: Callable[[str], None] = lambda step: None) -> Publication:
    """Make the data that `repo` describes, push it to its remote, and tag it.

    The tag is `tag`, or `<dataset>-v<N+1>` after the dataset's last one. A release equal to the last version's
    gets no new tag, unless `tag` asks for one. `announce` is called with each step's name as it begins.
    A run that works on the data already is waited for. Raises DefectoryError when a step fails; nothing is tagged then.
    """
    with alone(repo / ROOT):
        return _publish(repo, tag, announce)


def _publish(repo: Path, tag: str | None, announce: Callable[[str], None]) -> Publication:
    clock = _Clock(announce)
    with clock.step("preflight"):
        store = preflight(repo, tag)
        mend(repo)
    with clock.step("dvc repro"):
        dvc(repo, "repro", _STAGE)
    outputs = locked_outputs((repo / LOCK).read_text(encoding="utf-8"))
    with clock.step("verify"):
        name, is_new = name_version(repo, tag, _release_of(outputs))
        if is_new:
            verify_release(repo / RELEASE)
    with clock.step("dvc push"):
        before = store.listing(CONTENT)
        check = push(repo, store, outputs, is_new)
        pushed_files, pushed_bytes = added(before, store.listing(CONTENT))
    with clock.step("tag"):
        _commit_and_tag(repo, name, is_new)
    return Publication(name, is_new, pushed_files, pushed_bytes, check.objects, clock.seconds)


def preflight(repo: Path, tag: str | None) -> Store:
    """Refuse, before any work, what would fail after it; returns the repository's store, probed."""
    stage = os.environ.get("DVC_STAGE")
    if stage:
        # Inside a stage dvc.lock is not written yet: a push would upload nothing, and say that all is well.
        raise DefectoryError(f"publishing cannot run inside a dvc stage ({stage}): run it on its own")
    if not (repo / ".git").exists() or not (repo / ".dvc").is_dir() or not (repo / "dvc.yaml").is_file():
        raise DefectoryError(f"{repo}: expected a git and dvc repository with a dvc.yaml")
    load_params(repo / "params.yaml")
    if tag is not None:
        if tag.startswith("-"):
            raise DefectoryError(f"{tag!r} cannot name a version, since git takes it for an option")
        git(repo, "check-ref-format", f"refs/tags/{tag}")
    if not has_identity(repo):
        raise DefectoryError("git does not know who you are: git config --global user.email you@example.org")
    changed = git(repo, "diff", "--name-only", "HEAD").splitlines()
    if others := [name for name in changed if name not in (LOCK, RESOLVED)]:
        raise DefectoryError(f"{repo}: commit or discard your changes first: {', '.join(others)}")
    store = remote_of(repo)
    store.probe()
    return store


def verify_release(release: Path) -> None:
    """Raises DefectoryError when a file of the release is not the one that was built."""
    _refuse(
        f"{release}: the release is damaged; delete it and run this again", tuple(ReleaseDataset(release).damaged())
    )


def push(repo: Path, store: Store, outputs: tuple[LockedOutput, ...], is_new: bool) -> RemoteCheck:
    """Push what the store lacks and check that it has all then; raises DefectoryError naming what it has not."""
    check = check_remote(store, outputs, repo)
    if check.problems or is_new:
        forget(store, check.problems)
        dvc(repo, "push")
        check = check_remote(store, outputs, repo)
    _refuse(f"nothing was tagged: in the store {store.url}", tuple(problem.text for problem in check.problems))
    return check


def _release_of(outputs: tuple[LockedOutput, ...]) -> LockedOutput:
    for output in outputs:
        if output.path == RELEASE:
            return output
    raise DefectoryError(f"dvc.yaml: no stage makes {RELEASE}, which is what a version holds")


def name_version(repo: Path, wanted: str | None, release: LockedOutput) -> tuple[str, bool]:
    """The version's tag, and whether it is to be made. Raises when `wanted` names another release already."""
    dataset = load_params(repo / "params.yaml").dataset.name
    pattern = re.compile(re.escape(dataset) + r"-v(\d+)")
    tags = git(repo, "tag", "--list").split()
    numbers = sorted(int(match[1]) for tag in tags if (match := pattern.fullmatch(tag)))
    last = f"{dataset}-v{numbers[-1]}" if numbers else None
    name = wanted or last
    if name in tags:
        if outputs_of(repo, str(name)).get(RELEASE) == release:
            return str(name), False
        if wanted:
            raise DefectoryError(f"the tag {wanted!r} names another release already: give another name")
    return wanted or f"{dataset}-v{numbers[-1] + 1 if numbers else 1}", True


def _commit_and_tag(repo: Path, name: str, is_new: bool) -> None:
    # Where dvc ignores an output in git it writes a .gitignore beside it; that belongs to the version too.
    made = (LOCK, RESOLVED, f"{Path(RELEASE).parent}/.gitignore")
    git(repo, "add", "--", *(name for name in made if (repo / name).exists()))
    if git(repo, "diff", "--cached", "--name-only"):
        git(repo, "commit", "--quiet", "--message", f"Publish {name}" if is_new else f"Record the run behind {name}")
    if is_new:
        git(repo, "tag", "--annotate", name, "--message", f"Release {name}")


def _refuse(what: str, problems: tuple[str, ...]) -> None:
    if problems:
        listed = "\n".join(f"  {problem}" for problem in first_few(problems, 10))
        raise DefectoryError(f"{what}, {len(problems)} are not as they should be:\n{listed}")


class _Clock:
    """Announces steps, and keeps how long each took."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._announce(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
