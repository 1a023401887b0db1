"""JSON as all of our files have it: the same content gives the same bytes, and a line a value, for git to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.files.atomic import write_atomic


def json_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Atomically. Raises DefectoryError naming the path when the disk is full or refuses."""
    write_atomic(path, json_bytes(content))
