"""KID and IC-LPIPS of an arm: nearer to the real defects is smaller, and copies of one image have no diversity."""

from __future__ import annotations

from dataclasses import replace

from tasks.detectors.protocol import Arm
from tasks.evaluation.likeness import likenesses_of
from tasks.networks.device import HOST
from tests.detectors.pictures import arm, defective

REAL = tuple(defective(number) for number in range(6))


def test_defects_like_the_real_ones_are_nearer_than_other_pictures() -> None:
    like = arm(8, "like")
    bright = Arm(
        "bright",
        "ours",
        like.normals,
        tuple(replace(defective(number, "spot"), defect_type="dent") for number in range(20, 28)),
    )
    near, far = likenesses_of([like, bright], REAL, HOST)
    assert near.kid is not None
    assert far.kid is not None
    assert near.kid[0] < far.kid[0]
    assert near.names == ("kid_efficientnet_lite0", "ic_lpips_alexnet_dfmgan")


def test_copies_have_no_diversity() -> None:
    copies = Arm("copies", "ours", (), (defective(40),) * 5)
    various = Arm("various", "ours", (), tuple(defective(number) for number in range(40, 45)))
    alike, unlike = likenesses_of([copies, various], REAL[:1], HOST)
    assert alike.ic_lpips is not None
    assert unlike.ic_lpips is not None
    assert alike.ic_lpips < 1e-4 < unlike.ic_lpips


def test_what_cannot_be_said_is_left_out() -> None:
    (few,) = likenesses_of([arm(3)], REAL, HOST)
    assert few.kid is None
    (alone,) = likenesses_of([arm(8)], (), HOST)
    assert (alone.kid, alone.ic_lpips) == (None, None)
