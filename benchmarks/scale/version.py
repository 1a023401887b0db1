"""The stations of a version: into dvc, to the store and back."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.scale.place import Figures, Place, size_of
from flows.publish import publish
from flows.server.server import prefect_server
from flows.versions.pull import pull
from flows.versions.repository import dvc, git


def add(place: Place) -> Figures:
    """What dvc does after each stage: hash its outputs and keep them."""
    dvc(place.workspace, "repro", "resolve")
    dvc(place.workspace, "commit", "--force", "--with-deps", "release")
    git(place.workspace, "add", "--", "dvc.lock", "resolved.json")
    git(place.workspace, "commit", "--quiet", "--message", "The stages have been run one by one")
    return {"bytes": size_of(place.root)}


def push(place: Place) -> Figures:
    with prefect_server():
        made = publish(place.workspace)
    return {
        "tag": made.tag,
        "new": made.is_new,
        "pushed bytes": made.pushed_bytes,
        "pushed files": made.pushed_files,
        "steps": made.seconds,
    }


def pull_whole(place: Place) -> Figures:
    return _pull(place, place.base / "pulled", [])


def pull_part(place: Place) -> Figures:
    return _pull(place, place.base / "part", [sorted(path.name for path in place.root.glob("release/images/*"))[0]])


def _pull(place: Place, folder: Path, categories: list[str]) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)
    pulled = pull("scale-v1", place.workspace, folder, categories=categories)
    return {"bytes": size_of(pulled)}
