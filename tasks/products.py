"""Files that are made once: a marker beside each, written last, says from what it was made and what it holds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    text = json.dumps({"made_from": made_from, "sha256": file_sha256(path)}, indent=1)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(marker_of(path))
