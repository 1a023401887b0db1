"""What a git tag says of a version: the directories in its dvc.lock."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tasks.contracts import DefectoryError

RELEASE = "data/release"


@dataclass(frozen=True)
class LockedOutput:
    """A directory that a version holds, as dvc.lock records it."""

    path: str
    """Relative to the repository."""
    md5: str
    """Of the directory's listing, with dvc's ending `.dir`."""
    size: int
    """Bytes of all files together."""
    files: int


def locked_outputs(lock: str) -> tuple[LockedOutput, ...]:
    """The directories in the text of a dvc.lock, in its order."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {})
    outputs = [output for stage in stages.values() for output in stage.get("outs", [])]
    return tuple(
        LockedOutput(output["path"], output["md5"], output["size"], output["nfiles"])
        for output in outputs
        if output.get("md5", "").endswith(".dir")
    )


def outputs_of(repo: Path, tag: str) -> dict[str, LockedOutput]:
    """What the git tag `tag` holds, by path. Raises DefectoryError naming the tags there are."""
    shown = _git(repo, "show", f"refs/tags/{tag}:dvc.lock")
    if shown is None:
        tags = (_git(repo, "tag", "--list") or "").split()
        raise DefectoryError(f"{repo}: no version is tagged {tag!r}; tags here: {', '.join(tags) or 'none'}")
    return {output.path: output for output in locked_outputs(shown)}


def _git(repo: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=repo, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise DefectoryError(f"cannot run git in {repo}: install git, and give an existing checkout") from None
    return result.stdout if result.returncode == 0 else None
