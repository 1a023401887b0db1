"""What one system made and what was measured of it, on disk: a JSON file and the painted images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image

from tasks.contracts import Image

_RESULT = "result.json"


@dataclass(frozen=True)
class SystemResult:
    """A row of the table. A system that failed has `error` and nothing that was measured."""

    system: str
    places_sha256: str
    """Of the clean images and masks that were painted: results of other places are no rows of the same table."""
    strength: tuple[float, float]
    trained_on: str = ""
    training_seconds: float | None = None
    """0 where there is nothing to train, None where it was trained without being timed."""
    seconds_an_image: float = 0.0
    ic_lpips: dict[str, float | None] = field(default_factory=dict)
    """By `<category>/<defect type>`; None where no cluster has two images."""
    protocol: str = ""
    """Of IC-LPIPS: a key of `PROTOCOLS`."""
    inception_score: float = 0.0
    classifier: str = ""
    visible_share: float = 0.0
    outside_change: float = 0.0
    change_inside: float = 0.0
    accepted: int = 0
    painted: int = 0
    error: str = ""


def write_result(folder: Path, result: SystemResult, images: Mapping[str, Image]) -> None:
    """`images` by sample id; what an earlier call left in the system's folder goes."""
    own = folder / result.system
    own.mkdir(parents=True, exist_ok=True)
    for stale in own.iterdir():
        stale.unlink()
    for sample_id, image in images.items():
        PIL.Image.fromarray(image).save(_picture(folder, result.system, sample_id))
    (own / _RESULT).write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


def read_results(folder: Path) -> Iterator[SystemResult]:
    """Every system's, by name."""
    for path in sorted(folder.glob(f"*/{_RESULT}")):
        content = json.loads(path.read_text(encoding="utf-8"))
        yield SystemResult(**{**content, "strength": tuple(content["strength"])})


def read_picture(folder: Path, system: str, sample_id: str) -> Image:
    with PIL.Image.open(_picture(folder, system, sample_id)) as picture:
        return np.asarray(picture)


def _picture(folder: Path, system: str, sample_id: str) -> Path:
    return folder / system / f"{sample_id}.png"
