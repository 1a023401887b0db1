"""Features depend on one image alone, lie where the image shows them, and are kept within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import DefectoryError
from tasks.detectors.features import FeatureCache, coverage, feature_cells, grid_of, neighbourhoods, pooled, to_map
from tests.detectors.planted import SIZE, disc, texture


@pytest.mark.parametrize(("side", "cells"), [(32, 8), (64, 16), (160, 32)])
def test_images_are_doubled_up_to_256_pixels(side: int, cells: int) -> None:
    image = np.tile(texture(0), (3, 3, 1))[:side, :side]
    assert feature_cells(image).shape == (cells, cells, 152)
    assert grid_of(side) == cells
    assert coverage(np.ones((side, side), bool)).shape == (cells, cells)


@pytest.mark.parametrize("shape", [(64, 32, 3), (40, 40, 3), (64, 64)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DefectoryError, match=r"expected \(side, side, 3\).*multiple of 32"):
        feature_cells(np.zeros(shape, np.uint8))


def test_a_change_shows_in_the_cells_where_it_is() -> None:
    """The centre of the change in features is the centre of the change in pixels, to a third of a cell."""
    offsets = []
    for number, (row, column) in enumerate([(20, 40), (32, 32), (44, 22), (27, 27)]):
        image = texture(number).copy()
        image[disc(row, column, 2)] = (240, 30, 30)
        change = np.square(feature_cells(image) - feature_cells(texture(number))).sum(axis=2)
        middles = np.arange(16) * 4 + 1.5
        found = [(change.sum(axis=axis) * middles).sum() / change.sum() for axis in (1, 0)]
        offsets.append(np.array(found) - (row, column))
    assert np.abs(np.mean(offsets, axis=0)).max() < 4 / 3


def test_kept_features_are_those_computed_again_and_the_oldest_make_room() -> None:
    images = [texture(number) for number in range(4)]
    each = 16 * 16 * 152 * 2
    roomy, tight, none = FeatureCache(), FeatureCache(limit=2 * each), FeatureCache(limit=0)
    for image in images:
        first = roomy.cells(image)
        assert np.array_equal(first, roomy.cells(image))
        assert np.array_equal(first, tight.cells(image))
        assert np.array_equal(first, none.cells(image))
    assert (len(roomy), len(tight), len(none)) == (4, 2, 0)
    assert (roomy.held, tight.held, none.held) == (4 * each, 2 * each, 0)


def test_an_image_that_was_kept_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache()
    cache.cells(texture(0))
    monkeypatch.setattr("tasks.detectors.features._computed", lambda image, device: pytest.fail("computed again"))
    cache.cells(texture(0).copy())


def test_what_is_done_to_given_cells_does_not_reach_the_kept_ones() -> None:
    expected = feature_cells(texture(0)).copy()
    feature_cells(texture(0))[:] = 0
    assert np.array_equal(feature_cells(texture(0)), expected)


def test_neighbourhoods_are_means_of_nine_everywhere() -> None:
    cells = np.random.default_rng(0).normal(size=(5, 6, 3)).astype(np.float32)
    means = neighbourhoods(cells)
    assert means.shape == cells.shape
    assert means[2, 3] == pytest.approx(cells[1:4, 2:5].mean(axis=(0, 1)), abs=1e-6)
    assert means[0, 5] == pytest.approx(cells[:3, 3:].mean(axis=(0, 1)), abs=1e-6)
    assert means[4, 2] == pytest.approx(cells[2:, 1:4].mean(axis=(0, 1)), abs=1e-6)


def test_coverage_is_the_share_of_each_cell() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:8, 8:10] = True
    mask[20, 20] = True
    expected = np.zeros((16, 16))
    expected[1, 2], expected[5, 5] = 0.5, 1 / 16
    assert np.array_equal(coverage(mask), expected)


def test_pooling_weighs_cells_by_the_mask() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:8, 8:12] = mask[4:8, 12:14] = True
    cells = feature_cells(texture(0))
    assert pooled(texture(0), mask) == pytest.approx((2 * cells[1, 2] + cells[1, 3]) / 3, abs=1e-5)
    assert pooled(texture(0)) == pytest.approx(cells.mean(axis=(0, 1)), abs=1e-4)
    assert np.array_equal(pooled(texture(0), np.zeros_like(mask)), pooled(texture(0)))


def test_maps_lie_over_their_cells_and_keep_constants() -> None:
    scores = np.zeros((16, 16))
    scores[3, 10] = 1
    found = to_map(scores, SIZE)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 12 <= row < 16
    assert 40 <= column < 44
    assert np.allclose(to_map(np.full((16, 16), -7.5), SIZE), -7.5)
