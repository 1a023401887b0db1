"""Examples keep to the split manifest, and stay what they were when they change their size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, InputImage
from tasks.detectors.protocol import PHOTOGRAPH
from tasks.evaluation.examples import RELEASE_ORIGIN, photographs_of, released, shuffled
from tasks.files.names import PSEUDO_MASKS
from tasks.inputs.dataset import Inputs
from tasks.masks.pseudo import Plane
from tasks.masks.pseudo_store import PseudoMask, write_pseudo_masks
from tests import tiny_release
from tests.detectors.pictures import defective, normal

SIDE = 32


def photograph(number: int, defect_type: str, split: str, masked: bool = True) -> InputImage:
    example = normal(number) if defect_type == CLEAN else defective(number)
    foreground = np.ones(example.image.shape[:2], bool)
    mask = example.mask if masked else None
    name = f"part/{defect_type}/{number}"
    return InputImage(
        name, "part", defect_type, split, f"object {number}", example.image, mask, foreground, "", "", "", ""
    )


def inputs(*images: InputImage) -> Inputs:
    return Inputs(images, (), "0" * 64)


def test_the_splits_decide_what_is_trained_on(tmp_path: Path) -> None:
    found = photographs_of(
        inputs(
            photograph(1, CLEAN, TRAIN),
            photograph(2, CLEAN, TEST),
            photograph(3, "dent", TRAIN),
            photograph(4, "dent", TEST),
        ),
        "part",
        tmp_path,
        SIDE,
    )
    assert [example.example_id for example in found.normals] == ["part/clean/1"]
    assert [example.example_id for example in found.defects] == ["part/dent/3"]
    assert [example.example_id for example in found.test.examples] == ["part/clean/2", "part/dent/4"]
    assert found.test.examples[1].group == "object 4"
    assert {example.origin for example in found.defects} == {PHOTOGRAPH}


def test_a_defect_without_a_mask_trains_with_its_pseudo_mask_and_is_tested_without(tmp_path: Path) -> None:
    first, second = photograph(3, "dent", TRAIN, masked=False), photograph(5, "dent", TRAIN, masked=False)
    guess = np.zeros((64, 64), bool)
    guess[16:48, 16:48] = True
    anomaly: Plane = np.zeros((64, 64), np.float32)
    write_pseudo_masks(tmp_path / PSEUDO_MASKS, [PseudoMask(first, anomaly, guess)])
    found = photographs_of(inputs(first, second, photograph(4, "dent", TEST, masked=False)), "part", tmp_path, SIDE)
    assert [example.example_id for example in found.defects] == ["part/dent/3"], "the other's place is unknown"
    (defect,) = found.defects
    assert defect.mask is not None
    assert defect.mask[8:24, 8:24].all()
    assert defect.mask.sum() == 16 * 16
    assert found.test.masks is None


def test_images_are_brought_to_the_evaluations_size(tmp_path: Path) -> None:
    found = photographs_of(inputs(photograph(3, "dent", TRAIN)), "part", tmp_path, SIDE)
    (example,) = found.defects
    original = defective(3)
    assert example.mask is not None
    assert original.mask is not None
    assert example.image.shape == (SIDE, SIDE, 3)
    assert example.mask.shape == (SIDE, SIDE)
    assert example.mask.mean() == pytest.approx(original.mask.mean(), rel=0.25)
    assert example.image[example.mask].mean() < example.image[~example.mask].mean() - 40


def test_a_release_gives_its_own_pixels(tmp_path: Path) -> None:
    tiny_release.write_release(tmp_path, 6)
    examples = released(tmp_path, "cell", tiny_release.SIZE, 100)
    assert [example.example_id for example in examples] == [f"cell-{number:06d}" for number in range(6)]
    for number, example in enumerate(examples):
        image, mask = tiny_release.pictures(number)
        assert np.array_equal(example.image, image)
        assert np.array_equal(example.mask, mask)  # type: ignore[arg-type]
        assert example.defect_type == tiny_release.TYPES[number % 2]
        assert example.origin == RELEASE_ORIGIN


def test_so_many_are_chosen_by_hash(tmp_path: Path) -> None:
    tiny_release.write_release(tmp_path, 6)
    some = [example.example_id for example in released(tmp_path, "cell", tiny_release.SIZE, 3)]
    assert some == [example.example_id for example in released(tmp_path, "cell", tiny_release.SIZE, 3)]
    assert some != [f"cell-{number:06d}" for number in range(3)], "the first three are nobody's choice"
    assert len(some) == 3


def test_a_category_without_a_sample_is_named(tmp_path: Path) -> None:
    tiny_release.write_release(tmp_path, 2)
    with pytest.raises(DefectoryError, match="no released sample of category bolt"):
        released(tmp_path, "bolt", 32, 10)


def test_shuffling_keeps_images_and_masks_but_not_their_pairs() -> None:
    examples = tuple(replace(defective(number), origin="ours") for number in range(5))
    control = shuffled(examples)
    assert [example.image.tobytes() for example in control] == [example.image.tobytes() for example in examples]
    assert sorted(np.packbits(e.mask).tobytes() for e in control) == sorted(  # type: ignore[arg-type]
        np.packbits(e.mask).tobytes()
        for e in examples  # type: ignore[arg-type]
    )
    assert not any(np.array_equal(a.mask, b.mask) for a, b in zip(control, examples, strict=True))  # type: ignore[arg-type]
