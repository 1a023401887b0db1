"""What a dataset of the published scale would take on the device: the measured rates, times its numbers.

The whole is an extrapolation: nobody has run it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.device.recipes import DENOISER, EMBEDDING, PAINTER, TRAININGS

IMAGES = 360_000
"""Of SIA: 36 categories of 10,000."""
ESTIMATE = "360,000 images"
_HOUR = 3600.0
_ALL = frozenset(name for names in TRAININGS.values() for name in names)
_ON_TOP = frozenset({DENOISER, EMBEDDING, PAINTER})
"""What is trained on top of a pretrained backbone."""

Rows = Sequence[Mapping[str, Any]]


def estimates(tables: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """A row for each system whose rates are known."""
    trainings = tables.get("training", [])
    made = [_row(row, row["line (images/s)"], trainings, _ALL) for row in tables.get("line", [])]
    loaded = [_row(row, _one_after_another(row), trainings, _ON_TOP) for row in tables.get("pretrained", [])]
    return made + loaded


def _row(row: Mapping[str, Any], images_a_second: float, trainings: Rows, counted: frozenset[str]) -> dict[str, Any]:
    training, missing = _training_hours(row, trainings, counted)
    painting = IMAGES / images_a_second / _HOUR
    hours = {"training (h)": training, "images (h)": painting, "together (h)": training + painting}
    return {"networks": row["networks"], "system": row["system"], **hours, "not measured": ", ".join(missing)}


def _training_hours(row: Mapping[str, Any], trainings: Rows, counted: frozenset[str]) -> tuple[float, list[str]]:
    """Of all that the system is trained by, and which of it has no measurement."""
    measured = {
        each["training"]: each["seconds a step"] * each["steps by default"]
        for each in trainings
        if each["networks"] == row["networks"] and each["seconds a step"] is not None
    }
    wanted = [name for name in TRAININGS.get(row["system"], ()) if name in counted]
    missing = [name for name in wanted if name not in measured]
    return sum(measured.get(name, 0.0) for name in wanted) / _HOUR, missing


def _one_after_another(row: Mapping[str, Any]) -> float:
    rates = [row[f"{station} (images/s)"] for station in ("paint", "adapt", "score")]
    return 1 / sum(1 / rate for rate in rates)
