"""How long training took, by product: a small file beside the models that later calls read.

Products are shared: every latent system decodes with one fine-tuned codec. So seconds belong to a product, and a
system's training is the sum over the products it needs, whoever had them made first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import hardware
from tasks.files.atomic import write_atomic
from tasks.files.products import marker_of
from tasks.params.registry import entry_of

RECORD = "seconds.json"
_UNFINISHED = "unfinished"
_MARKERS = marker_of(Path("*")).name


@contextmanager
def timed(workdir: Path) -> Iterator[None]:
    """Keep the wall seconds of each product that is made in `workdir` while the block lasts.

    An interrupted training's seconds are kept, too, and added to the product that the next block finishes first.
    """
    start, finished = time.time(), False
    try:
        yield
        finished = True
    finally:
        _record(workdir, start, finished)


def training_of(system: str, workdir: Path) -> tuple[float | None, str]:
    """Seconds and hardware of what the system needs; None where a product was made without this record's knowledge."""
    made = [name for name in entry_of(system).products if marker_of(workdir / name).is_file()]
    record = _read(workdir)
    if not all(name in record for name in made):
        return None, ""
    machines = sorted({str(record[name]["hardware"]) for name in made})
    return sum(float(record[name]["seconds"]) for name in made), ", ".join(machines)


def _record(workdir: Path, start: float, finished: bool) -> None:
    """A product took as long as from the one before it, or from the start, until its marker was written."""
    record = _read(workdir)
    carried = float(record.pop(_UNFINISHED, {"seconds": 0.0})["seconds"])
    markers = sorted((path.stat().st_mtime, path.name) for path in workdir.glob(_MARKERS))
    at = start
    for written, marker in markers:
        if written >= start:
            record[marker.removesuffix(_MARKERS[1:])] = _entry(carried + written - at)
            at, carried = written, 0.0
    if not finished:
        record[_UNFINISHED] = _entry(carried + time.time() - at)
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomic(workdir / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def _entry(seconds: float) -> dict[str, Any]:
    return {"seconds": round(seconds, 2), "hardware": hardware()}


def _read(workdir: Path) -> dict[str, Any]:
    try:
        content = json.loads((workdir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
