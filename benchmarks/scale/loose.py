"""The same images as loose files, an image and a mask for each sample, through dvc: what shards are measured against.

A part of the release stands for all of it, since pulling all of it so would take hours; what is compared is images
a second.
"""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path

from benchmarks.scale.place import ENDPOINT, Figures, Place
from flows.server.local_store import BUCKET
from flows.versions.repository import dvc, git, init_workspace
from tasks.files.tables import read_table

_SAMPLES = 3600


def push_loose(place: Place) -> Figures:
    """A repository of their own, added and pushed; a remote of their own too, so that nothing is there before."""
    repo = place.base / "loose"
    shutil.rmtree(repo, ignore_errors=True)
    init_workspace(repo, f"s3://{BUCKET}/{place.samples}-loose", os.environ[ENDPOINT])
    images = _write(place.root / "release", repo / "data" / "loose")
    (repo / ".gitignore").unlink()
    dvc(repo, "add", "data/loose")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "Loose files")
    dvc(repo, "push")
    return {"images": images}


def pull_loose(place: Place) -> Figures:
    clone = place.base / "loose-pulled"
    shutil.rmtree(clone, ignore_errors=True)
    git(place.base, "clone", "--quiet", "loose", clone.name)
    dvc(clone, "pull")
    files = sum(1 for _ in (clone / "data" / "loose").iterdir())
    return {"images": files // 2, "files": files}


def _write(release: Path, folder: Path) -> int:
    """So many samples from the beginning of every category."""
    folder.mkdir(parents=True)
    categories = sorted((release / "images").iterdir())
    images = 0
    for category in categories:
        shards = (read_table(path).to_pylist() for path in sorted(category.glob("*.parquet")))
        for row in islice((row for rows in shards for row in rows), _SAMPLES // len(categories)):
            images += 1
            for kind, ending in (("image", ".webp"), ("mask", ".png")):
                (folder / f"{row['sample_id']}{ending}").write_bytes(row[kind]["bytes"])
    return images
