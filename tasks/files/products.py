"""Files that are made once: a marker beside each, written last, says from what it was made and what it holds."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.files.atomic import remove, remove_partial
from tasks.files.hashing import file_sha256
from tasks.files.json_text import write_json

_CHECKPOINT = ".checkpoint.safetensors"


def marker_of(path: Path) -> Path:
    return path.with_name(path.name + ".made.json")


def is_made(path: Path, made_from: str) -> bool:
    """Whether the file is there, whole, and made from exactly this."""
    try:
        marker = json.loads(marker_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return path.is_file() and marker == {"made_from": made_from, "sha256": file_sha256(path)}


def mark_made(path: Path, made_from: str) -> None:
    """Declare the file finished; the marker appears whole or not at all."""
    write_json(marker_of(path), {"made_from": made_from, "sha256": file_sha256(path)})


def checkpoint_of(path: Path) -> Path:
    """Where the training of a file keeps what it needs to go on after a kill."""
    return path.with_name(path.stem + _CHECKPOINT)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs have left among finished products: half-written files, and checkpoints of no more use.

    To be called where everything is made and nobody else writes: a checkpoint beside its product is then behind it.
    """
    remove_partial(folder)
    for path in sorted(folder.glob(f"*{_CHECKPOINT}")):
        if path.with_name(path.name.replace(_CHECKPOINT, ".safetensors")).is_file():
            remove(path)
