"""Clears a folder of candidates of what no longer belongs to the plan.

The folder outlives its runs so that they can resume; so what a change of params has left behind is removed here, by
fingerprint, and nothing else does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tasks.candidates.files import shard_files
from tasks.candidates.read import is_done
from tasks.contracts import ShardPlan
from tasks.files.atomic import remove, remove_partial

_OURS = re.compile(r"\d{5,}(\.scores)?\.parquet|\d{5,}\.done\.json|\..+\.partial")


def sweep_stale(root: Path, plans: Iterable[ShardPlan]) -> list[str]:
    """Remove every shard file that is not part of a finished shard of `plans`; returns their names below `root`.

    To be called before any worker begins: a shard that is being written is not finished. Files that are not named
    like a shard's are left alone.
    """
    done = [shard_files(root, plan) for plan in plans if is_done(root, plan)]
    kept = {path for files in done for path in (*files.data, files.marker)}
    found = (path for path in root.glob("*/*") if path.is_file() and _OURS.fullmatch(path.name))
    # Markers first: after a crash in the middle no marker stands for files that are gone.
    stale = sorted((path for path in found if path not in kept), key=lambda path: (path.suffix != ".json", path))
    for path in stale:
        remove(path)
    remove_partial(root)
    for folder in {path.parent for path in stale}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return sorted(path.relative_to(root).as_posix() for path in stale)
