"""The publishing that is killed: a real git, dvc and S3 store, and a release whose stages copy what was made before.

In: a repository that `lay_out` has made. Out: what `defectory publish` leaves in it and in its store. dvc runs in the
same process here, not in one of its own, so that each of its writes is an instant at which it can be killed, too.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import dvc_s3  # noqa: F401 (so that no attempt has to)
from dvc.cli import main as dvc_main
from dvc.repo.reproduce import reproduce  # noqa: F401

from flows.demo import check_equal
from flows.publish import publish
from flows.server.local_store import BUCKET
from flows.versions import repository
from flows.versions.pull import pull
from flows.versions.repository import dvc_environment, git, init_workspace
from tasks.versions.locked import RELEASE
from tasks.versions.pulled import ReleaseDataset
from tasks.versions.remote import remote_of

RUN, CHECK = "benchmarks.kill_publish:run", "benchmarks.kill_publish:check"
CHECK_DATA = "benchmarks.kill_publish:check_data"
STAGES = """\
stages:
  candidates:
    cmd: mkdir -p data && cp -r made/candidates data
    deps: [made/candidates]
    outs: [{data/candidates: {persist: true}}]
  release:
    cmd: mkdir -p data && cp -r made/release data
    deps: [made/release, data/candidates]
    outs: [data/release]
"""


def lay_out(repo: Path, made: Path, params: Path, endpoint: str) -> None:
    """Make a repository whose stages copy the candidates and the release in `made`; it has a remote of its own."""
    repo.mkdir(parents=True)
    for name in ("candidates", "release"):
        shutil.copytree(made / name, repo / "made" / name)
    shutil.copyfile(params, repo / "params.yaml")
    (repo / "dvc.yaml").write_text(STAGES, encoding="utf-8")
    (repo / ".gitignore").write_text("/data/\n/made/\n/pulled/\n.cache/\n", encoding="utf-8")
    init_workspace(repo, f"s3://{BUCKET}/{repo.parent.name}-{repo.name}", endpoint)


def run(repo: Path) -> None:
    """What `defectory publish` does."""
    _dvc_in_this_process()
    publish(repo)


def check(repo: Path) -> None:
    """Raises where there is not one version alone, or what is pulled of it is not what was made, to the last byte."""
    _check(repo, repo / "made" / "release")


def check_data(repo: Path) -> None:
    """The same of a repository whose own stages have made the release."""
    _check(repo, repo / RELEASE)


def _check(repo: Path, made: Path) -> None:
    _dvc_in_this_process()
    (tag,) = git(repo, "tag", "--list").split()
    pulled = pull(tag, repo, repo / "pulled", remote_of(repo).endpoint)
    check_equal(made, pulled)
    assert not list(ReleaseDataset(pulled).damaged())
    assert not git(repo, "status", "--porcelain"), "something is not committed"
    shutil.rmtree(repo / "pulled")


def version(repo: Path) -> str:
    """What the tag says that the data are: dvc's hashes."""
    return git(repo, "show", "cells-v1:dvc.lock")


def _dvc_in_this_process() -> None:
    os.environ.update(dvc_environment())
    repository._run_dvc = _run_dvc_here


def _run_dvc_here(repo: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    before, said = Path.cwd(), _Errors()
    os.chdir(repo)
    logging.getLogger("dvc").addHandler(said)
    try:
        return dvc_main([*arguments]), "\n".join(said.lines)
    finally:
        os.chdir(before)


class _Errors(logging.Handler):
    """The lines that a dvc of its own would write to its log as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        reasons = [record.getMessage()]
        reason = record.exc_info[1] if record.exc_info else None
        while reason:
            reasons.append(f"{type(reason).__name__}: {reason}")
            reason = reason.__cause__
        self.lines.append(f"ERROR: {' - '.join(filter(None, reasons))}")
