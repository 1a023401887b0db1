"""Every test plants one leak past the split's groups, on real photographs; the gate must name it and its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from tasks.contracts import TEST, TRAIN, DefectoryError, Image, InputImage
from tasks.detectors.protocol import Example
from tasks.evaluation.leaks import Leak, check_leaks, find_leaks, refuse_leaks
from tasks.files.json_text import write_json
from tasks.files.pictures import encode_image
from tasks.inputs.dataset import INPUTS_REPORT, Inputs, pack_image, read_inputs, write_category, write_splits
from tests.factories import make_inputs

NEAR = 0.03
CLEAN_CELLS = make_inputs(128, ("mono",), cleans=5)
TESTED = next(image for image in CLEAN_CELLS.images if image.split == TEST)


def with_train_image(folder: Path, image: Image, **changes: str) -> Inputs:
    """The cells and one more of the train split, a defect's reference, written as the split manifest allows it."""
    mask = np.zeros(image.shape[:2], bool)
    mask[40:60, 40:60] = True
    fields = {"image_id": "mono/crack/planted", "defect_type": "crack", "sha256": "planted", "group": "planted"}
    planted = replace(TESTED, split=TRAIN, image=image, mask=mask, **{**fields, **changes})
    return written(folder, [*CLEAN_CELLS.images, planted])


def written(folder: Path, images: list[InputImage]) -> Inputs:
    packed = [pack_image(image, encode_image(image.image)) for image in images]
    write_splits(folder, write_category(folder, "mono", packed))
    write_json(folder / INPUTS_REPORT, {"skipped": []})
    return read_inputs(folder)


def crop_of(image: Image, turns: int = 0, mirrored: bool = False) -> Image:
    """The middle two thirds, enlarged to the image's size."""
    cut = PillowImage.fromarray(image[20:105, 24:109]).resize((128, 128), PillowImage.Resampling.BICUBIC)
    turned = np.rot90(np.asarray(cut), turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def kinds(leaks: list[Leak]) -> list[tuple[str, str, str]]:
    return [(leak.test_id, leak.train_id, leak.kind) for leak in leaks]


def test_cells_that_were_split_well_are_not_refused(tmp_path: Path) -> None:
    refuse_leaks(written(tmp_path, list(CLEAN_CELLS.images)), NEAR)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (TESTED.image, "copy"),
        (np.ascontiguousarray(TESTED.image[:, ::-1]), "turned copy"),
        (np.ascontiguousarray(np.rot90(TESTED.image)), "turned copy"),
        ((TESTED.image * 0.6 + 20).astype(np.uint8), "other exposure"),
        (crop_of(TESTED.image), "crop"),
        (crop_of(TESTED.image, turns=1, mirrored=True), "crop"),
    ],
    ids=["copy", "mirrored", "turned", "exposure", "crop", "turned crop"],
)
def test_a_test_image_that_came_back_as_a_reference_is_named(tmp_path: Path, image: Image, kind: str) -> None:
    inputs = with_train_image(tmp_path, image)
    leaks = find_leaks(inputs, NEAR)
    assert kinds(leaks) == [(TESTED.image_id, "mono/crack/planted", kind)]
    with pytest.raises(DefectoryError, match=f"test image {TESTED.image_id} .* mono/crack/planted") as caught:
        check_leaks(leaks)
    assert "take these images out" in str(caught.value)


def test_how_near_is_too_near_is_for_the_params_to_say(tmp_path: Path) -> None:
    darker = (TESTED.image * 0.6 + 20).astype(np.uint8)
    inputs = with_train_image(tmp_path, darker)
    (leak,) = find_leaks(inputs, NEAR)
    assert 0 < leak.value < NEAR
    assert "other exposure" not in {kind for *_, kind in kinds(find_leaks(inputs, leak.value / 2))}
    assert len(find_leaks(CLEAN_CELLS, 0.0)) < len(find_leaks(CLEAN_CELLS, 100.0))


def test_a_piece_of_a_test_image_pasted_into_a_train_image_is_a_crop() -> None:
    cells = make_inputs(128, ("mono", "poly"), cleans=3)
    ours = [image for image in cells.images if image.category == "poly"]
    tested = next(image for image in ours if image.split == TEST)
    other = ours[0].image.copy()
    other[10:90, 40:120] = tested.image[40:120, 20:100]
    fields = {"image_id": "poly/crack/planted", "defect_type": "crack", "sha256": "planted", "group": "planted"}
    planted = replace(ours[0], image=other, **fields)
    leaks = find_leaks(Inputs((*ours[:2], tested, planted), (), "0"), NEAR)
    assert kinds(leaks) == [(tested.image_id, "poly/crack/planted", "crop")]


def test_cells_of_one_crystal_are_suspected_and_not_refused() -> None:
    cells = make_inputs(128, ("mono", "poly"), cleans=3)
    ours = [image for image in cells.images if image.category == "poly"]
    tested = next(image for image in ours if image.split == TEST)
    suspected = refuse_leaks(Inputs((replace(ours[2], defect_type="crack"), ours[1], tested), (), "0"), NEAR)
    assert kinds(list(suspected)) == [(tested.image_id, ours[2].image_id, "sister part")]


def test_two_exposures_of_one_part_by_its_group(tmp_path: Path) -> None:
    unlike = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    leaks = find_leaks(with_train_image(tmp_path, unlike, group=TESTED.group), NEAR)
    assert kinds(leaks) == [(TESTED.image_id, "mono/crack/planted", "same part")]


def test_one_file_is_a_copy_whatever_became_of_its_pixels(tmp_path: Path) -> None:
    unlike = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    leaks = find_leaks(with_train_image(tmp_path, unlike, sha256=TESTED.sha256), NEAR)
    assert kinds(leaks) == [(TESTED.image_id, "mono/crack/planted", "copy")]


def test_a_synthetic_image_painted_on_a_test_image_is_named() -> None:
    image = TESTED.image.copy()
    mask = np.zeros((128, 128), bool)
    mask[60:68, 40:70] = True
    image[mask] = 10
    with pytest.raises(DefectoryError, match="mono-000007"):
        refuse_leaks(CLEAN_CELLS, NEAR, [Example("mono-000007", image, "crack", mask)])


def test_a_synthetic_image_painted_on_a_train_image_is_none() -> None:
    twin = next(image for image in CLEAN_CELLS.images if image.split == TRAIN)
    mask = np.zeros((128, 128), bool)
    mask[60:68, 40:70] = True
    image = np.where(mask[..., None], 10, twin.image).astype(np.uint8)
    assert refuse_leaks(CLEAN_CELLS, NEAR, [Example("mono-000007", image, "crack", mask)]) == ()
