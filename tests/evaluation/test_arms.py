"""The arms of an evaluation differ in their defects alone, and none has seen what it is tested on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.detectors.protocol import Arm, SyntheticSet, TestSet
from tasks.evaluation.arms import ALL_REAL, FEW_REAL, NORMALS, SHUFFLED, arms_of
from tasks.evaluation.examples import Photographs
from tests.detectors.pictures import defective, held_out, normal

NORMAL = tuple(normal(number) for number in range(4))
REAL = tuple(defective(number) for number in range(3))
OURS = SyntheticSet("ours", "ours", tuple(defective(number, origin="ours") for number in range(10, 15)))
PASTED = SyntheticSet("pasted", "baseline", tuple(defective(number, origin="pasted") for number in range(20, 22)))


def arms(photographs: Photographs) -> dict[str, list[Arm]]:
    found: dict[str, list[Arm]] = {}
    for arm in arms_of(photographs, [OURS, PASTED]):
        found.setdefault(arm.name, []).append(arm)
    return found


def test_every_arm_has_the_same_normal_images() -> None:
    made = arms(Photographs(NORMAL, REAL, held_out()))
    assert set(made) == {"ours", "pasted", FEW_REAL, f"{FEW_REAL} + ours", SHUFFLED, NORMALS, ALL_REAL}
    assert all(arm.normals == NORMAL for parts in made.values() for arm in parts)
    assert made[f"{FEW_REAL} + ours"][0].defects == REAL + OURS.examples
    assert made[NORMALS][0].defects == ()


def test_without_real_defects_their_arms_are_left_out() -> None:
    normals_alone = TestSet(tuple(example for example in held_out().examples if not example.defective))
    assert set(arms(Photographs(NORMAL, (), normals_alone))) == {"ours", "pasted", SHUFFLED, NORMALS}


def test_an_empty_set_is_no_arm() -> None:
    made = arms_of(Photographs(NORMAL, REAL, held_out()), [replace(OURS, examples=()), PASTED])
    assert "ours" not in {arm.name for arm in made}
    assert SHUFFLED not in {arm.name for arm in made}


def test_no_shuffled_mask_stays_with_its_image() -> None:
    (control,) = arms(Photographs(NORMAL, REAL, held_out()))[SHUFFLED]
    for before, after in zip(OURS.examples, control.defects, strict=True):
        assert np.array_equal(before.image, after.image)
        assert not np.array_equal(before.mask, after.mask)  # type: ignore[arg-type]


def test_the_ceiling_is_tested_on_objects_it_has_not_seen() -> None:
    views = [replace(defective(number), group=f"object {number // 2}") for number in range(100, 112)]
    parts = arms(Photographs(NORMAL, REAL, TestSet((normal(100), *views))))[ALL_REAL]
    tested = [name for part in parts for name in sorted(part.unseen or ())]
    assert sorted(tested) == sorted(view.example_id for view in views)
    group_of = {view.example_id: view.group for view in views}
    for part in parts:
        trained_on = {example.group for example in part.defects}
        assert not trained_on & {group_of[name] for name in part.unseen or ()}
        assert part.defects[: len(REAL)] == REAL


def test_without_masks_in_the_test_set_there_is_no_ceiling() -> None:
    unmasked = [replace(example, mask=None) for example in held_out().examples]
    assert ALL_REAL not in arms(Photographs(NORMAL, REAL, TestSet(tuple(unmasked))))
