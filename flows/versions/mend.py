"""What dvc and git leave behind when they are killed in the middle of a write, and what brings both back to work.

In: a repository in which no other run of ours works (`flows.line.lock` sees to that). Out: the same, usable. Neither
program replaces all of its files as a whole or takes its locks back at the next start, so one kill can stop every later
call.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import yaml

from flows.versions.repository import LOCK, git

_DVC, _GIT = {"dvc", "quiet_dvc.py", "flows.quiet_dvc"}, {"git"}


def mend(repo: Path) -> None:
    """Take away what a killed dvc or git has left, unless one is at work. What is finished stays finished."""
    if not _is_at_work(_GIT, repo):
        for path in ("index.lock", "HEAD.lock", "refs/heads/**/*.lock", "refs/tags/*.lock", "packed-refs.lock"):
            _remove(repo / ".git", path)
    if not _is_at_work(_DVC, repo):
        _remove(repo / ".dvc" / "tmp", "rwlock")  # who uses what: nobody; a part of it would end every later dvc
        _mend_run_cache(repo / ".dvc" / "cache" / "runs")
        _mend_lock(repo)


def _is_at_work(programs: set[str], repo: Path) -> bool:
    """Whether such a program runs in `repo`, a person's for example."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = {Path(word).name for word in (process.info["cmdline"] or [])[:5]}
        if words & programs and Path(process.info["cwd"] or "/").is_relative_to(repo.resolve()):
            return True
    return False


def _remove(folder: Path, pattern: str) -> None:
    for path in sorted(folder.glob(pattern)):
        path.unlink(missing_ok=True)


def _mend_run_cache(runs: Path) -> None:
    """Half a record would count as that of a finished run, and a folder without any would end every later dvc."""
    _remove(runs, "*/*/.*.tmp")
    for folder in runs.glob("*/*/"):
        if not any(folder.iterdir()):
            folder.rmdir()


def _mend_lock(repo: Path) -> None:
    """A part of dvc.lock makes way for the last commit's; dvc then asks the stages again, which find all made."""
    path = repo / LOCK
    if not path.is_file() or _is_whole(path):
        return
    path.unlink()
    if git(repo, "ls-tree", "HEAD", "--", LOCK):
        git(repo, "checkout", "HEAD", "--", LOCK)


def _is_whole(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(path.read_bytes()))
    except (yaml.YAMLError, Invalid):
        return False
    return True
