"""What a test set allows, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import Mask
from tasks.evaluation.metrics.available import (
    IMAGE_METRICS,
    NORMAL,
    PIXEL_METRICS,
    WITH_MASK,
    WITHOUT_MASK,
    available,
    strata,
)
from tests.evaluation.metrics.scored_sets import make_test

DRAWN = np.zeros((32, 32), dtype=bool)
DRAWN[3:6, 3:6] = True
EMPTY = np.zeros((32, 32), dtype=bool)
ALL = IMAGE_METRICS + PIXEL_METRICS


@pytest.mark.parametrize(
    ("normals", "masks", "names", "said"),
    [
        (2, [DRAWN, DRAWN], ALL, None),
        (2, [None, None, None], IMAGE_METRICS, "None of the 3 defective test images has a mask: the pixel metrics are"),
        (2, [EMPTY, None], IMAGE_METRICS, "has a mask with a defect pixel (1 are empty)"),
        (2, [], (), "None of the 2 test images is defective"),
        (0, [], (), "The test set is empty"),
        (0, [DRAWN, DRAWN], PIXEL_METRICS, "All 2 test images are defective"),
        (0, [~EMPTY, EMPTY], (), "leave no normal pixel"),
        (1, [~EMPTY], ALL, None),
        (
            3,
            [DRAWN, None, EMPTY, DRAWN, None],
            ALL,
            "3 of the 5 defective test images have no mask (1 of them an empty one): the pixel metrics are over the 2 "
            "that have one and the 3 normal images.",
        ),
    ],
)
def test_what_is_missing_is_said(
    normals: int, masks: list[Mask | None], names: tuple[str, ...], said: str | None
) -> None:
    test = make_test([None] * normals + masks, [False] * normals + [True] * len(masks))
    found, sentences = available(test)
    assert found == names
    assert said is None if not sentences else said is not None and said in " ".join(sentences)


def test_everything_that_is_missing_is_said() -> None:
    names, sentences = available(make_test([None, None], [True, True]))
    assert names == ()
    assert len(sentences) == 2


def test_strata_tell_apart_what_pixel_metrics_can_use() -> None:
    test = make_test([None, DRAWN, None, EMPTY, None], [False, True, True, True, False])
    assert strata(test).tolist() == [NORMAL, WITH_MASK, WITHOUT_MASK, WITHOUT_MASK, NORMAL]
