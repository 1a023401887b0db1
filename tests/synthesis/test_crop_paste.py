"""Crop&Paste: what is pasted is the real defect, where its motion brings it, and nothing of the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.transform import SimilarityTransform, warp

from tasks.contracts import TEST, DefectoryError, DrawnMask, Image, InputImage, Mask, Place
from tasks.files.names import PSEUDO_MASKS
from tasks.masks.pseudo_store import PseudoMask, write_pseudo_masks
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.synthesis.crop_paste import Model, box_to_box, extended, load, paint
from tasks.training.closeup import Window, view_of
from tests.synthesis.places import SIZE, blob, inputs_of, levels, params_with, photograph, picture, place_on

HOLE = blob(30, 34, 9)
KEEP = params_with(crop_paste={"exposure": "keep"})
MATCH = params_with(crop_paste={"exposure": "match"})


def red(image: Image, mask: Mask) -> Image:
    """The surface with a defect in reds that occur nowhere else, all unlike."""
    marked = image.copy()
    marked[mask] = np.stack([np.full(mask.sum(), 255), np.arange(mask.sum()) % 32, np.zeros(mask.sum())], axis=1)
    return marked


CLEAN = photograph("clean")
DEFECT = photograph("defect", "hole", red(picture("defect"), HOLE), HOLE)


def model_of(*defects: InputImage, workdir: Path = Path("absent"), params: Params = KEEP) -> Model:
    return load(inputs_of(CLEAN, *defects), params, workdir, HOST)


def moved_place(motion: SimilarityTransform, strength: float = 1.0) -> Place:
    mask = warp(HOLE.astype(float), motion.inverse, order=1) > 0.5
    return place_on(CLEAN, DrawnMask(mask, "reference", DEFECT.image_id, motion.params), strength)


def test_a_shifted_defect_has_exactly_the_real_ones_pixels() -> None:
    place = moved_place(SimilarityTransform(translation=(11, 20)))
    image = levels(paint(model_of(DEFECT), [place], KEEP))
    assert np.allclose(image[place.mask], DEFECT.image[HOLE], atol=1e-3)
    assert np.allclose(image[~place.mask], CLEAN.image[~place.mask], atol=1e-3)


def test_a_turned_and_scaled_defect_keeps_the_histogram() -> None:
    motion = SimilarityTransform(rotation=0.6, scale=1.1) + SimilarityTransform(translation=(25, 5))
    smooth = picture("defect").astype(float)
    smooth[HOLE] = np.mgrid[:SIZE, :SIZE].sum(axis=0)[HOLE, None] * 2
    defect = photograph("defect", "hole", smooth.clip(0, 255).astype(np.uint8), HOLE)
    place = moved_place(motion)
    image = levels(paint(model_of(defect), [place], KEEP))
    shares = np.linspace(5, 95, 19)
    pasted, real = (np.percentile(pixels, shares) for pixels in (image[place.mask], defect.image[HOLE]))
    assert np.abs(pasted - real).max() < 5


def test_a_magnified_view_shows_the_same_paste() -> None:
    place = moved_place(SimilarityTransform(translation=(10, 12)))
    model = model_of(DEFECT)
    near = view_of(place, Window(20, 20, SIZE // 2))
    seen, whole = levels(paint(model, [near], KEEP)), levels(paint(model, [place], KEEP))
    shrunk = seen.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))
    inside = place.mask[20:68, 20:68]
    assert np.abs(shrunk - whole[20:68, 20:68])[inside].mean() < 12


def test_exposure_is_matched_by_one_factor_and_the_defect_stays_visible() -> None:
    dark = photograph("dark", "hole", np.where(HOLE[..., None], 10, 50).repeat(3, 2).astype(np.uint8), HOLE)
    bright = photograph("bright", image=np.full((SIZE, SIZE, 3), 203, np.uint8))
    place = place_on(bright, DrawnMask(HOLE, "reference", dark.image_id, np.eye(3)))
    kept, matched = (levels(paint(model_of(dark), [place], params)) for params in (KEEP, MATCH))
    assert np.allclose(kept[HOLE], 10, atol=1e-3)
    assert np.allclose(matched[HOLE], 10 * 204 / 51, atol=1e-3)
    alike = place_on(photograph("alike", image=np.full((SIZE, SIZE, 3), 50, np.uint8)), place.drawn)
    assert np.allclose(levels(paint(model_of(dark), [alike], MATCH))[HOLE], 10, atol=1e-3)


def test_other_shapes_are_filled_with_the_defects_inside_alone() -> None:
    shape = np.zeros((SIZE, SIZE), bool)
    shape[10:80, 40:52] = True
    image = levels(paint(model_of(DEFECT), [place_on(CLEAN, shape)], KEEP))
    assert np.allclose(image[shape][:, 0], 255, atol=1e-3)
    assert image[shape][:, 1:].max() < 32
    assert image[shape].std(axis=0)[1] > 3
    assert np.allclose(image[~shape], CLEAN.image[~shape], atol=1e-3)


def test_boxes_are_brought_to_boxes_turned_where_they_lie_across() -> None:
    lying, standing = np.zeros((2, SIZE, SIZE), bool)
    lying[10:20, 30:70], standing[20:80, 5:15] = True, True
    for target in (lying, standing):
        corners = box_to_box(lying, target) @ np.array([[29.5, 69.5], [9.5, 19.5], [1, 1]])
        rows, columns = np.nonzero(target)
        assert sorted(corners[0]) == pytest.approx([columns.min() - 0.5, columns.max() + 0.5])
        assert sorted(corners[1]) == pytest.approx([rows.min() - 0.5, rows.max() + 0.5])


def test_the_inside_goes_on_as_its_own_mirror_image() -> None:
    image = np.repeat(np.arange(SIZE, dtype=np.uint8)[None, :, None], SIZE, 0).repeat(3, 2)
    mask = np.broadcast_to((np.arange(SIZE) >= 40) & (np.arange(SIZE) < 60), (SIZE, SIZE))
    row = extended(image, mask)[50, :, 0].astype(int)
    assert np.array_equal(row[40:60], np.arange(40, 60))
    assert np.array_equal(row[30:40], 80 - np.arange(30, 40))
    assert ((row >= 40) & (row < 60)).all()


def test_defects_of_the_test_split_are_never_pasted_and_types_are_kept() -> None:
    held = photograph("held", "hole", np.full((SIZE, SIZE, 3), 255, np.uint8), HOLE, TEST)
    scratch = photograph("scratch", "scratch", np.zeros((SIZE, SIZE, 3), np.uint8), HOLE)
    places = [place_on(CLEAN, blob(50, 50, 8), seed=seed) for seed in range(12)]
    painted = paint(model_of(DEFECT, held, scratch), places, KEEP)
    for number, place in enumerate(places):
        inside = levels(painted, number)[place.mask]
        assert np.allclose(inside[:, 0], 255, atol=1e-3)
        assert inside[:, 2].max() < 1


def test_pseudo_masked_defects_are_pasted_too(tmp_path: Path) -> None:
    unmasked = photograph("unmasked", "hole", DEFECT.image)
    write_pseudo_masks(tmp_path / PSEUDO_MASKS, [PseudoMask(unmasked, HOLE.astype(np.float32), HOLE)])
    place = place_on(CLEAN, DrawnMask(HOLE, "reference", unmasked.image_id, np.eye(3)))
    image = levels(paint(model_of(unmasked, workdir=tmp_path), [place], KEEP))
    assert np.allclose(image[HOLE], DEFECT.image[HOLE], atol=1e-3)


def test_strength_orders_the_results() -> None:
    shift = SimilarityTransform(translation=(11, 20))
    places = [moved_place(shift, strength) for strength in (0.0, 0.4, 0.7, 1.0)]
    painted = paint(model_of(DEFECT), places, MATCH)
    changes = [np.abs(levels(painted, n) - CLEAN.image)[places[0].mask].mean() for n in range(4)]
    assert changes == sorted(changes)
    assert changes[0] < 1e-3 < changes[1]


def test_a_category_whose_defects_have_no_mask_is_one_clear_error() -> None:
    with pytest.raises(DefectoryError, match=r"category part has a mask.*pseudo_quantile"):
        model_of(photograph("unmasked", "hole"))
