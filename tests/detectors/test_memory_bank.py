"""The memory bank knows what it holds, spreads what it keeps, and points at what it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tasks.contracts import DefectoryError
from tasks.detectors import memory_bank
from tasks.detectors.memory_bank import MemoryBank, dte_np, fit, greedy_coreset, score
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams
from tests.detectors.planted import SIZE, arm, defect, disc, ignore, texture

PARAMS = EvaluateParams(image_size=SIZE)


@pytest.fixture(scope="module")
def bank() -> MemoryBank:
    return fit(arm(normals=30), PARAMS, 0, HOST, ignore)


def test_an_image_in_the_bank_is_at_distance_zero(bank: MemoryBank) -> None:
    known, unknown = score(bank, [texture(3), texture(900)]).image_scores
    assert known == 0
    assert unknown > 0


def test_the_map_peaks_in_a_planted_patch(bank: MemoryBank) -> None:
    examples = [defect(number) for number in range(4)]
    scored = score(bank, [example.image for example in examples])
    assert scored.maps.shape == (4, SIZE, SIZE)
    for example, found, value in zip(examples, scored.maps, scored.image_scores, strict=True):
        assert example.mask is not None
        assert example.mask.ravel()[found.argmax()]
        assert value == found.max()


def test_defects_are_never_remembered(bank: MemoryBank) -> None:
    assert np.array_equal(bank.cells, fit(replace(arm(normals=30), defects=()), PARAMS, 0, HOST, ignore).cells)
    assert len(bank.cells) == 30 * 16 * 16


def test_scores_do_not_depend_on_companions(bank: MemoryBank) -> None:
    images = [texture(900), defect(0).image, texture(901)]
    together, alone = score(bank, images), score(bank, images[1:2])
    assert np.array_equal(together.maps[1], alone.maps[0])
    assert together.image_scores[1] == alone.image_scores[0]


def test_large_banks_are_thinned_by_the_seed(monkeypatch: pytest.MonkeyPatch, bank: MemoryBank) -> None:
    for name, value in (("_WHOLE", 100), ("_CANDIDATES", 1000), ("_CORESET", 50)):
        monkeypatch.setattr(memory_bank, name, value)
    first, again, other = (fit(arm(normals=30), PARAMS, seed, HOST, ignore).cells for seed in (0, 0, 1))
    assert first.shape == (50, 152)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    everything = {row.tobytes() for row in bank.cells}
    assert all(row.tobytes() in everything for row in first)


def test_the_coreset_covers_ever_more_and_what_it_says_it_covers() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    chosen, radii = greedy_coreset(rows, 60, np.random.default_rng(1))
    assert len(set(chosen.tolist())) == 60
    assert (np.diff(radii) <= 1e-6).all()
    for count in (1, 10, 60):
        to_nearest = np.linalg.norm(rows[:, None] - rows[chosen[:count]][None], axis=2).min(axis=1)
        assert radii[count - 1] == pytest.approx(to_nearest.max(), abs=1e-3)
    at_random = np.linalg.norm(rows[:, None] - rows[None, :60], axis=2).min(axis=1).max()
    assert radii[-1] < at_random


def test_an_arm_without_normal_images_is_refused() -> None:
    with pytest.raises(DefectoryError, match="'planted' has no normal image"):
        fit(replace(arm(), normals=()), PARAMS, 0, HOST, ignore)


def test_dte_np_is_the_mean_squared_distance_to_five_neighbours() -> None:
    """By hand: training rows at -1 and 1 have mean 0 and deviation 1 in both features, so nothing is rescaled."""
    training = np.array([[-1, -1], [1, 1]] * 3, dtype=np.float32)
    found = dte_np(training, np.array([[1, 1], [1, -1]], dtype=np.float32))
    assert found == pytest.approx([(3 * 0 + 2 * 8) / 5 / 2, 4 / 2])


def test_dte_np_rises_with_noise_and_ignores_a_feature_s_unit() -> None:
    generator = np.random.default_rng(0)
    training = generator.normal(size=(60, 8)).astype(np.float32)
    noise, strengths = generator.normal(size=(30, 8)), np.linspace(0.5, 6, 30)
    rows = (noise / np.linalg.norm(noise, axis=1, keepdims=True) * strengths[:, None]).astype(np.float32)
    found = dte_np(training, rows)
    assert spearmanr(found, strengths).statistic > 0.95
    units = np.array([1000] + [1] * 7, dtype=np.float32)
    assert dte_np(training * units, rows * units) == pytest.approx(found, rel=1e-3)


def test_a_patch_is_found_by_position_in_the_image(bank: MemoryBank) -> None:
    """Rows are not columns: a patch at the top right is not found at the bottom left."""
    image = texture(2).copy()
    image[disc(14, 48, 7)] = 25
    row, column = np.unravel_index(score(bank, [image]).maps[0].argmax(), (SIZE, SIZE))
    assert abs(int(row) - 14) < 8
    assert abs(int(column) - 48) < 8
