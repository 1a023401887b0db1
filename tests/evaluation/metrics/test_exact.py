"""The exact metrics: anchors and small examples by hand, ties, and PRO and IAP against their definitions in loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.contracts import DefectoryError
from tasks.evaluation.metrics.exact import image_metrics, pixel_metrics
from tests.evaluation.metrics.scored_sets import correlated_maps, random_masks
from tests.evaluation.metrics.slow_metrics import slow_instance_precision, slow_pro


@pytest.fixture
def two_defects() -> NDArray[np.bool_]:
    masks = np.zeros((3, 10, 10), dtype=bool)
    masks[1, 2:4, 2:4] = masks[2, 5, 1:9] = True
    return masks


def test_a_perfect_map_has_one_everywhere(two_defects: NDArray[np.bool_]) -> None:
    assert pixel_metrics(two_defects.astype(np.float32), two_defects) == pytest.approx(
        dict.fromkeys(["pixel_auroc", "pixel_ap", "pixel_f1_max", "pro", "iap", "iap90"], 1.0)
    )


def test_a_constant_map_knows_nothing(two_defects: NDArray[np.bool_]) -> None:
    prevalence = 12 / 300
    for level in (-1.0, 0.0, 3.0):  # DeSTSeg's own code counts background as found at and below 0
        values = pixel_metrics(np.full((3, 10, 10), level, dtype=np.float32), two_defects)
        assert values == pytest.approx(
            {
                "pixel_auroc": 0.5,
                "pixel_ap": prevalence,
                "pixel_f1_max": 2 * prevalence / (1 + prevalence),
                "pro": 0.15,
                "iap": prevalence,
                "iap90": prevalence,
            }
        )


def test_an_inverted_map_finds_no_region(two_defects: NDArray[np.bool_]) -> None:
    values = pixel_metrics(-two_defects.astype(np.float32), two_defects)
    assert values["pro"] == values["pixel_auroc"] == 0.0


def test_image_metrics_by_hand_with_a_tie() -> None:
    # from the top: +, then + and - tied, then -. Pairs: 1 + 1 + .5 + 1 of 4. Steps: 1/2 * 1 + 1/2 * 2/3.
    values = image_metrics(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    assert values == pytest.approx({"image_auroc": 3.5 / 4, "image_ap": 5 / 6, "image_f1_max": 0.8})


def test_pro_by_hand() -> None:
    """A component of one pixel and one of four; ten normal pixels. A large one does not outweigh a small one."""
    masks = np.array([[[1, 0, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0]]], dtype=bool)
    maps = np.array([[[9, 4, 4, 2, 2], [2, 2, 7, 7, 2], [2, 2, 5, 1, 2]]], dtype=np.float32)
    # 9: 1/2 at 0. 7: 3/4 at 0. 5: 7/8 at 0. 4 (tied): 7/8 at .2. 2 (tied): 7/8 at 1. So 7/8 up to .3.
    assert pixel_metrics(maps, masks)["pro"] == pytest.approx(7 / 8)
    moved = maps.copy()
    moved[0, 0, 0] = 2  # 7: 1/4, 5: 3/8 at 0; 4: 3/8 at .2; 2: 7/8 at 1, of which an eighth of the way by .3
    at_limit = 3 / 8 + 4 / 8 / 8
    assert pixel_metrics(moved, masks)["pro"] == pytest.approx((0.2 * 3 / 8 + 0.1 * (3 / 8 + at_limit) / 2) / 0.3)


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 3, 3] = True
    maps = np.zeros((1, 4, 4), dtype=np.float32)
    maps[0, 3, 3] = 1
    # the lone pixel is half of two components; the rest comes with all else, three tenths of the way by .3
    assert pixel_metrics(maps, masks)["pro"] == pytest.approx((0.5 + 0.5 + 0.5 * 0.3) / 2)


def test_instance_precision_by_hand() -> None:
    """Instances found at 8 (two of three pixels) and 3 (its only pixel); false alarms at 9 and 5."""
    masks = np.array([[[1, 1, 1, 0, 0, 0, 1]]], dtype=bool)
    maps = np.array([[[9, 8, 0, 9, 5, -1, 3]]], dtype=np.float32)
    # at 3: 3 of 5 marked pixels are true; at 8: 2 of 3. Recall 1 and 1/2.
    values = pixel_metrics(maps, masks)
    assert values["iap"] == pytest.approx((3 / 5 + 2 / 3) / 2)
    assert values["iap90"] == pytest.approx(3 / 5)


def test_a_precision_counts_for_harder_thresholds_too() -> None:
    masks = np.array([[[1, 0, 0, 1, 1, 1, 1, 0]]], dtype=bool)
    maps = np.array([[[8, 9, 0, 5, 5, 5, 5, 0]]], dtype=np.float32)
    # at 5: 5 of 6; at 8: 1 of 2, raised to 5/6
    assert pixel_metrics(maps, masks)["iap"] == pytest.approx(5 / 6)


def test_nine_of_ten_instances_have_a_recall_of_90() -> None:
    masks = np.zeros((1, 1, 40), dtype=bool)
    masks[0, 0, :40:4] = True
    maps = np.zeros((1, 1, 40), dtype=np.float32)
    maps[0, 0, :36:4] = 2
    maps[0, 0, 1::4] = 1  # above the tenth, which only comes with everything
    values = pixel_metrics(maps, masks)
    assert values["iap90"] == 1.0
    assert values["iap"] == pytest.approx((9 + 10 / 40) / 10)


@pytest.mark.parametrize("levels", [None, 6])
@pytest.mark.parametrize("strength", [0.0, 1.5, 4.0])
def test_pro_and_instance_precision_are_their_definitions(strength: float, levels: int | None) -> None:
    masks = random_masks(2, 4, 16, seed=3)
    maps = correlated_maps(masks, strength, seed=4)
    if levels:
        maps = np.round(maps * levels / np.abs(maps).max())
    values = pixel_metrics(maps, masks)
    assert values["pro"] == pytest.approx(slow_pro(maps, masks), abs=1e-12)
    assert (values["iap"], values["iap90"]) == pytest.approx(slow_instance_precision(maps, masks), abs=1e-12)


def test_only_the_order_of_scores_counts() -> None:
    masks = random_masks(2, 4, 16, seed=3)
    maps = correlated_maps(masks, 2.0, seed=4).astype(np.float64)
    assert pixel_metrics(np.exp(maps) - 100, masks) == pytest.approx(pixel_metrics(maps, masks), abs=1e-12)


def test_one_class_alone_is_refused() -> None:
    maps = np.zeros((1, 4, 4), dtype=np.float32)
    with pytest.raises(DefectoryError, match="got 0 defective of 16"):
        pixel_metrics(maps, np.zeros((1, 4, 4), dtype=bool))
    with pytest.raises(DefectoryError, match="got 2 defective of 2"):
        image_metrics(np.array([1.0, 2.0]), np.array([True, True]))
