"""What the histogram engine is held against: the exact metrics, of images truly repeated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.detectors.protocol import Scored, TestSet
from tasks.evaluation.metrics.exact import image_metrics, pixel_metrics

TOLERANCE = {"pixel_auroc": 2e-5, "pixel_ap": 1e-3, "pixel_f1_max": 5e-4, "pro": 2e-4}
"""Of binned pixels; what is not here is exact."""


def exact(test: TestSet, scored: Scored, times: NDArray[np.int64] | None = None) -> dict[str, float]:
    """With image i taken times[i] times."""
    rows = np.repeat(np.arange(len(test.examples)), 1 if times is None else times)
    assert test.masks is not None
    return image_metrics(scored.image_scores[rows], test.defective[rows]) | pixel_metrics(
        scored.maps[rows], test.masks[rows]
    )


def assert_agree(values: dict[str, float], expected: dict[str, float], tolerance: dict[str, float]) -> None:
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert value == pytest.approx(expected[name], abs=tolerance.get(name, 1e-12)), name


def row(values: dict[str, NDArray[np.float64]], number: int) -> dict[str, float]:
    return {name: float(value[number]) for name, value in values.items()}
