"""The git and dvc repository of a dataset: running both quietly, setting one up, pulling a version.

git knows params.yaml, dvc.yaml and dvc.lock; dvc knows the bytes. Both run as programs of their own.
dvc's words go to a log below `.dvc/tmp`, and only the line that matters is shown when it fails; the
stages that dvc starts write to the terminal, so their progress shows. Keys pass in the environment only.
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import time
from pathlib import Path

from flows.line.lock import descriptors
from tasks.contracts import DefectoryError
from tasks.store.addresses import without_credentials
from tasks.store.s3 import CHECKSUM_VARIABLES, Store, check_endpoint
from tasks.versions.remote import default_remote, read_config

REMOTE = "store"
LOCK, RESOLVED = "dvc.lock", "resolved.json"
_TRACKED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml")
_BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")
_WAITS = (2.0, 5.0, 15.0)
"""Seconds before each new try while another dvc holds the repository."""
_CONFIG = """\
[core]
    analytics = false
    autostage = false
    check_update = false
    remote = {remote}
['remote "{remote}"']
    url = {url}
    connect_timeout = 10
    read_timeout = 60
    jobs = 16
"""


def git(repo: Path, *arguments: str) -> str:
    """Run git in `repo`; returns what it printed. Raises DefectoryError with git's own line when it fails."""
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=repo,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        raise DefectoryError(f"cannot run git in {repo}: install git, and give an existing folder") from None
    if result.returncode:
        said = without_credentials(result.stderr.strip() or result.stdout.strip())
        raise DefectoryError(f"git {arguments[0]} failed in {repo}: {_last_line(said)}")
    return result.stdout.strip()


def dvc(repo: Path, *arguments: str) -> None:
    """Run dvc in `repo`, with patience while another dvc is at work there.

    Raises DefectoryError with dvc's own line and the log's path when it fails.
    """
    for wait in (*_WAITS, None):
        status, errors = _run_dvc(repo, arguments)
        if status == 0:
            return
        if wait is None or not any(mark in errors for mark in _BUSY):
            log = dvc_log(repo)
            raise DefectoryError(f"dvc {arguments[0]} failed: {_last_line(errors)} (all that dvc said: {log})")
        time.sleep(wait)


def dvc_log(repo: Path) -> Path:
    return repo / ".dvc" / "tmp" / "defectory.log"


def _run_dvc(repo: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    log = dvc_log(repo)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    start = log.stat().st_size
    # -P: a folder named `flows` in `repo` must not hide this one.
    command = [sys.executable, "-P", "-m", "flows.quiet_dvc", str(log.resolve()), *arguments]
    # A process group of its own, which quiet_dvc interrupts as a whole when its input ends. Until the stage has ended
    # in order the workspace is not free, even where this process has been killed.
    process = subprocess.Popen(
        command,
        cwd=repo,
        env=dvc_environment(),
        stdin=subprocess.PIPE,
        process_group=0,
        pass_fds=descriptors(),
    )
    assert process.stdin is not None
    try:
        status = process.wait()
    finally:
        process.stdin.close()
        process.wait()  # when interrupted: until the stage has ended in order
    said = log.read_bytes()[start:].decode("utf-8", errors="replace")
    return status, "\n".join(line for line in said.splitlines() if line.startswith("ERROR"))


def dvc_environment() -> dict[str, str]:
    """The environment of a dvc process: `python` of a stage's command is this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, **CHECKSUM_VARIABLES, "DVC_NO_ANALYTICS": "true", "PATH": path}


def _last_line(text: str) -> str:
    lines = [line.strip().removeprefix("ERROR: ").removeprefix("fatal: ") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "it did not say why")


def init_workspace(root: Path, remote_url: str, endpoint: str | None) -> None:
    """Make `root` a git and dvc repository whose remote is the store; commits its set-up. Safe to repeat.

    `remote_url` is `s3://bucket/prefix`. The key is not written anywhere: dvc takes it from the
    environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or from a profile.
    """
    Store(remote_url, endpoint)  # refuses addresses that dvc would take and then ignore
    root.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        _init_git(root)
    if not (root / ".dvc").exists():
        dvc_init = [sys.executable, "-m", "dvc", "init", "--quiet"]
        subprocess.run(dvc_init, cwd=root, env=dvc_environment(), check=True)
    (root / ".dvc" / "config").write_text(_config(remote_url, endpoint), encoding="utf-8")
    if not (root / ".gitignore").exists():
        (root / ".gitignore").write_text("/data/\n.cache/\n", encoding="utf-8")
    git(root, "add", "--", *(name for name in _TRACKED if (root / name).exists()))
    if git(root, "diff", "--cached", "--name-only"):
        git(root, "commit", "--quiet", "--message", "Set up the dataset's workspace")


def _init_git(root: Path) -> None:
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "commit.gpgsign", "false")
    git(root, "config", "tag.gpgsign", "false")
    if not has_identity(root):
        git(root, "config", "user.name", "Defectory")
        git(root, "config", "user.email", "defectory@localhost")


def has_identity(repo: Path) -> bool:
    try:
        return bool(git(repo, "config", "user.email"))
    except DefectoryError:
        return False


def _config(url: str, endpoint: str | None) -> str:
    text = _CONFIG.format(remote=REMOTE, url=url)
    return text + f"    endpointurl = {endpoint}\n" if endpoint else text


def override_endpoint(repo: Path, endpoint: str) -> None:
    """Give the default remote another server address in this checkout only, in a file that git ignores."""
    check_endpoint(endpoint)
    local = configparser.RawConfigParser()
    local.read(repo / ".dvc" / "config.local", encoding="utf-8")
    local.read_dict({default_remote(read_config(repo), repo): {"endpointurl": endpoint}})
    with (repo / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        local.write(file)
