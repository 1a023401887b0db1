"""The magnified view of small defects: which windows are chosen, what a view keeps, and what is put back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data
from skimage.transform import warp

from tasks.contracts import TRAIN, DrawnMask, Image, InputImage, Mask, Place, ReferenceMask, SampleSpec
from tasks.masks.draw import draw_mask
from tasks.params import MasksParams
from tasks.training.closeup import Window, cells_touched, put_back, view_of, window_for

SIZE, LEAST = 256, 9
FEATHER = 6


def rectangle(top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def place_of(mask: Mask, motion: np.ndarray | None = None) -> Place:
    image: Image = data.astronaut()[:SIZE, :SIZE].copy()
    foreground = np.zeros((SIZE, SIZE), bool)
    foreground[8:-8, 8:-8] = True
    texts = ("a/clean/1", "a", "clean", TRAIN, "1")
    clean = InputImage(*texts, image, None, foreground, "sha", "1.png", "made", "CC0-1.0")
    spec = SampleSpec("a-000000", "set", "a", "spot", 0, clean.image_id, "reference", 0.5, seed=4)
    return Place(spec, clean, DrawnMask(mask, "reference", "a/spot/1", motion))


@pytest.mark.parametrize(
    ("mask", "side"),
    [
        (rectangle(96, 96, 24, 24), None),
        (rectangle(96, 96, 16, 16), SIZE // 2),
        (rectangle(100, 100, 60, 1), SIZE // 2),
        (rectangle(101, 101, 5, 5), SIZE // 4),
        (rectangle(101, 101, 2, 2), SIZE // 4),
        (rectangle(0, 0, 0, 0), None),
    ],
    ids=["large enough", "twice is enough", "a stroke that only half the image holds", "small", "tiny", "empty"],
)
def test_the_widest_window_in_which_the_mask_touches_enough_cells(mask: Mask, side: int | None) -> None:
    window = window_for(mask, LEAST)
    assert (window.side if window else None) == side


def test_a_stroke_too_long_for_any_window_stays_as_it_is() -> None:
    stroke = rectangle(100, 20, 1, 200)
    assert cells_touched(stroke) < 40
    assert window_for(stroke, 40) is None


def test_no_cells_asked_for_is_no_window() -> None:
    assert window_for(rectangle(101, 101, 2, 2), 0) is None


@pytest.mark.parametrize("corner", [(0, 0), (0, 250), (250, 0), (250, 250), (120, 3)])
def test_a_window_lies_in_the_image_and_holds_the_whole_mask(corner: tuple[int, int]) -> None:
    mask = rectangle(*corner, 6, 6)
    window = window_for(mask, LEAST)
    assert window is not None
    assert min(window.top, window.left) >= 0
    assert max(window.top, window.left) + window.side <= SIZE
    assert mask[window.slices].sum() == mask.sum()


def test_a_view_is_a_place_of_the_same_size_that_shows_the_window() -> None:
    place = place_of(rectangle(100, 60, 6, 10))
    window = window_for(place.mask, LEAST)
    assert window is not None
    view = view_of(place, window)
    zoom = SIZE // window.side
    assert view.clean.image.shape == place.clean.image.shape
    assert view.mask.sum() == place.mask.sum() * zoom**2
    assert np.array_equal(view.mask[::zoom, ::zoom], place.mask[window.slices])
    assert np.array_equal(view.clean.foreground[::zoom, ::zoom], place.clean.foreground[window.slices])
    shown = view.clean.image.reshape(window.side, zoom, window.side, zoom, 3).mean(axis=(1, 3))
    assert np.abs(shown - place.clean.image[window.slices]).mean() < 2
    assert view.spec == place.spec


def test_what_is_put_back_changes_nothing_beyond_mask_and_feather() -> None:
    place = place_of(rectangle(100, 60, 6, 10))
    window = window_for(place.mask, LEAST)
    assert window is not None
    result = put_back(np.zeros((SIZE, SIZE, 3), np.uint8), place, window, FEATHER)
    outside = ndimage.distance_transform_edt(~place.mask) > FEATHER
    assert np.array_equal(result[outside], place.clean.image[outside])
    assert result[place.mask].mean() < 3


def test_an_untouched_view_put_back_leaves_the_image_as_it_was() -> None:
    """To the last bit of its grain, which magnifying and shrinking alone would take a part of."""
    place = place_of(rectangle(100, 60, 6, 10))
    window = window_for(place.mask, LEAST)
    assert window is not None
    assert np.array_equal(put_back(view_of(place, window).clean.image, place, window, FEATHER), place.clean.image)


def test_what_a_view_changed_is_shrunk_and_the_grain_below_it_stays() -> None:
    place = place_of(rectangle(100, 60, 6, 10))
    window = window_for(place.mask, LEAST)
    assert window is not None
    view = view_of(place, window)
    brighter = np.clip(view.clean.image.astype(int) + 12, 0, 255).astype(np.uint8)
    seen = np.where(view.mask[..., None], brighter, view.clean.image)
    result = put_back(seen, place, window, FEATHER).astype(int)
    inside = place.mask & (place.clean.image < 240).all(axis=2)
    assert np.abs((result - place.clean.image)[inside] - 12).max() <= 1


def test_a_real_defect_brought_by_the_views_motion_lands_on_the_magnified_mask() -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    wedge = (rows >= 180) & (rows < 194) & (columns >= 30) & (columns < 30 + (rows - 176) / 1.5)
    reference = ReferenceMask("a/spot/1", "a", "spot", wedge, pseudo=False)
    empty = place_of(rectangle(0, 0, 1, 1))
    params = MasksParams(sources={"reference": 1.0}, min_area=0.0005)
    drawn = draw_mask(empty.spec, empty.clean, [reference], params)
    assert drawn.source == "reference"
    assert drawn.motion is not None
    window = window_for(drawn.mask, 40)
    assert window is not None
    view = view_of(Place(empty.spec, empty.clean, drawn), window)
    assert view.drawn.motion is not None
    for motion, mask in ((drawn.motion, drawn.mask), (view.drawn.motion, view.mask)):
        landed = warp(wedge.astype(float), np.linalg.inv(motion), output_shape=(SIZE, SIZE), order=1) > 0.45
        assert (landed & mask).sum() / (landed | mask).sum() > 0.85


def test_the_views_motion_is_exact_to_the_pixel_centre() -> None:
    """The centre of a pixel of the image is the centre of its square of magnified pixels."""
    place = place_of(rectangle(101, 61, 2, 2), motion=np.eye(3))
    window = Window(96, 48, SIZE // 4)
    motion = view_of(place, window).drawn.motion
    assert motion is not None
    column, row, _ = motion @ [61, 101, 1]
    assert (column, row) == ((61 - 48) * 4 + 1.5, (101 - 96) * 4 + 1.5)
