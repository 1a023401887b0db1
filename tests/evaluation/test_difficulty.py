"""Synthetic defects that are fainter or stronger than the real ones are called so, whatever they were painted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.contracts import DefectoryError
from tasks.detectors.protocol import Arm, Example, TestSet
from tasks.evaluation.difficulty import Difficulty, difficulties_of, hold_out, match_of
from tasks.evaluation.examples import Photographs
from tasks.evaluation.parents import nearest_normals
from tasks.evaluation.validity import validity_of
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams
from tests.detectors.planted import SIZE, defect, disc, ignore, normal, texture

PARAMS = EvaluateParams(image_size=SIZE)
NORMALS = tuple(map(normal, range(30)))
REAL = tuple(defect(number, strength=0.82) for number in range(8))


def on_normals(name: str, strength: float) -> Arm:
    """Blobs painted on the normal photographs, most of which the memory bank holds."""
    defects = []
    for number in range(30):
        mask = disc(18 + number, 45 - number, 9)
        painted = texture(number) * (1 - strength) + 25 * strength
        image = np.where(mask[..., None], painted, texture(number)).astype(np.uint8)
        defects.append(Example(f"{name} {number}", image, "blob", mask))
    return Arm(name, "ours", NORMALS, tuple(defects))


@pytest.fixture(scope="module")
def found() -> list[Difficulty]:
    arms = [on_normals("faint", 0.1), on_normals("like", 0.82), on_normals("strong", 1.0)]
    return list(difficulties_of(arms, Photographs(NORMALS, REAL, TestSet(())), PARAMS, HOST, ignore))


def test_a_faint_arm_is_too_hard_and_a_strong_one_too_easy(found: list[Difficulty]) -> None:
    sentences = [each.sentence for each in found]
    assert ["too hard" in sentences[0], "matched" in sentences[1], "too easy" in sentences[2]] == [True] * 3
    aurocs = [each.synthetic_auroc for each in found]
    assert aurocs == sorted(aurocs)


def test_the_matched_arm_is_nearest_to_the_real_defects(found: list[Difficulty]) -> None:
    matches = [each.match for each in found]
    assert len({match.real_auroc for match in matches if match}) == 1
    faint, like, strong = (match.wasserstein for match in matches if match)
    assert like < min(faint, strong)
    faint, like, strong = (match.kolmogorov_smirnov for match in matches if match)
    assert like < min(faint, strong)


def test_only_defects_on_held_out_photographs_are_compared(found: list[Difficulty]) -> None:
    arm = on_normals("strong", 1.0)
    assert nearest_normals(arm.defects, NORMALS) == [each.example_id for each in NORMALS]
    assert [each.compared for each in found] == [6, 6, 6]
    remembered = {each.example_id for each in hold_out(NORMALS)[0]}
    familiar = [d for d, normal in zip(arm.defects, NORMALS, strict=True) if normal.example_id in remembered]
    photographs = Photographs(NORMALS, REAL, TestSet(()))
    (nothing,) = difficulties_of([replace(arm, defects=tuple(familiar[:3]))], photographs, PARAMS, HOST, ignore)
    assert (nothing.compared, nothing.synthetic_auroc, nothing.match) == (0, None, None)
    assert "difficulty unknown" in nothing.sentence


def test_without_real_defects_nothing_is_said_of_them() -> None:
    photographs = Photographs(NORMALS, (), TestSet(()))
    (found,) = difficulties_of([on_normals("strong", 1.0)], photographs, PARAMS, HOST, ignore)
    assert found.match is None
    assert "no real defect in the train split" in found.sentence


def test_a_fifth_of_the_normal_images_is_held_out_by_hash() -> None:
    remembered, held_out = hold_out(NORMALS)
    assert len(held_out) == 6
    assert sorted([*remembered, *held_out], key=lambda each: each.example_id) == sorted(
        NORMALS, key=lambda each: each.example_id
    )
    again = hold_out(NORMALS[::-1])
    assert {each.example_id for each in again[1]} == {each.example_id for each in held_out}
    with pytest.raises(DefectoryError, match=r"2 normal images.*from 3 on"):
        hold_out(NORMALS[:2])


def test_figures_of_a_comparison_by_hand() -> None:
    match = match_of(np.array([1.0, 2, 3, 4]), np.array([2.5, 5]), np.array([0.0, 3]))
    assert match.real_auroc == pytest.approx(3 / 4)
    assert match.easier == pytest.approx(2 / 8)
    assert match.kolmogorov_smirnov == pytest.approx(0.5)
    assert match.wasserstein == pytest.approx((1.5 + 0.5 + 2 + 1) / 4 / 1.5)


def test_empty_masks_and_copies_are_counted() -> None:
    different = [defect(number) for number in range(3)]
    copy = replace(different[0], example_id="again")
    bare = replace(defect(4), mask=np.zeros((SIZE, SIZE), bool))
    validity = validity_of([*different, copy, bare])
    assert (validity.defects, validity.empty_masks, validity.near_duplicates) == (5, 0.2, 0.2)
    assert validity.sentence == "5 defects, 20% with an empty mask, 20% near-duplicates"
