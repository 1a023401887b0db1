"""Defect types are told apart by what lies under the mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.contracts import DefectoryError
from tasks.detectors.feature_classifier import fit, predict, type_weights
from tasks.detectors.protocol import Arm, Example
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams
from tests.detectors.planted import SIZE, defect, disc, texture

PARAMS = EvaluateParams(image_size=SIZE)
BLOBS, STAINS = ([defect(number, name, radius=7) for number in range(12)] for name in ("blob", "stain"))
ARM = Arm("types", "ours", (), (*BLOBS[:6], *STAINS[:3]))


def test_unseen_defects_are_named() -> None:
    model = fit(ARM, PARAMS, 0, HOST)
    assert predict(model, BLOBS[6:]) == ["blob"] * 6
    assert predict(model, STAINS[6:]) == ["stain"] * 6
    assert predict(model, STAINS[7:8]) == ["stain"]


def test_types_are_learned_from_what_the_mask_covers() -> None:
    """Each image holds both defects, side by side: only the mask says which of them is meant."""
    left, right = disc(32, 16, 9), disc(32, 48, 9)

    def both(number: int, defect_type: str, mask: np.ndarray) -> Example:
        image = texture(number).copy()
        image[left], image[right] = 25, (200, 20, 20)
        return Example(f"{defect_type} {number}", image, defect_type, mask)

    pairs = [(both(number, "blob", left), both(number, "stain", right)) for number in range(8)]
    model = fit(Arm("both", "ours", (), tuple(each for pair in pairs[:5] for each in pair)), PARAMS, 0, HOST)
    assert predict(model, [each for pair in pairs[5:] for each in pair]) == ["blob", "stain"] * 3


def test_without_a_mask_the_whole_image_counts() -> None:
    bare = [replace(example, mask=None) for example in (*BLOBS, *STAINS)]
    model = fit(replace(ARM, defects=(*bare[:6], *bare[12:18])), PARAMS, 0, HOST)
    whole = [replace(example, mask=np.ones((SIZE, SIZE), bool)) for example in bare]
    assert predict(model, bare) == predict(model, whole)
    assert predict(model, bare[:6]) == ["blob"] * 6


def test_types_weigh_the_same_and_origins_within_a_type() -> None:
    kinds = [("blob", "release")] * 6 + [("blob", "photograph")] * 2 + [("stain", "release")] * 4
    examples = [replace(BLOBS[0], defect_type=kind, origin=origin) for kind, origin in kinds]
    weights = type_weights(examples)
    assert weights.sum() == pytest.approx(12)
    assert [weights[:6].sum(), weights[6:8].sum(), weights[8:].sum()] == pytest.approx([3, 3, 6])


def test_one_type_is_nothing_to_tell_apart() -> None:
    with pytest.raises(DefectoryError, match=r"arm types: .*two or more, got \['blob'\]"):
        fit(replace(ARM, defects=tuple(BLOBS)), PARAMS, 0, HOST)
