"""The object is found by its texture and colour where brightness says nothing, and a texture is all foreground."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tasks.contracts import Image, Mask
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.inputs.foreground import find_foreground, learn_foreground
from tasks.inputs.foreground_learned import (
    background_cells,
    cell_features,
    clusters_of,
    find_by_cells,
    learn_cells,
    linear_discriminant,
)
from tests import pretend_device
from tests.inputs.helpers import mvtec_source, mvtec_tree, params_of

SIZE = 128


def disc(row: float = 0.0, column: float = 0.0) -> Mask:
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 < 0.3**2)


def on_table(seed: int, table: float, place: tuple[float, float] = (0.0, 0.0)) -> Image:
    """A brown disc with the texture of gravel on a smooth grey table; it is as bright as a table of 120."""
    generator = np.random.default_rng(seed)
    top, left = generator.integers(0, 512 - SIZE, 2)
    gravel = data.gravel()[top : top + SIZE, left : left + SIZE, None] * np.array([1.2, 0.9, 0.5])
    plain = np.full((SIZE, SIZE, 3), table) + generator.normal(0, 3, (SIZE, SIZE, 1))
    return np.where(disc(*place)[..., None], gravel, plain).clip(0, 255).astype(np.uint8)


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


TABLES = (30, 60, 120, 150, 220, 240)
PLACES = ((0.0, 0.0), (0.1, -0.1), (-0.1, 0.1), (0.12, 0.05), (-0.05, -0.12), (0.05, 0.1))


def test_an_object_is_found_on_tables_of_any_brightness() -> None:
    cleans = [on_table(seed, table, place) for seed, (table, place) in enumerate(zip(TABLES, PLACES, strict=True))]
    model, grey_model = learn_cells(cleans), learn_foreground(cleans, "otsu")
    found = [overlap(find_by_cells(clean, model), disc(*place)) for clean, place in zip(cleans, PLACES, strict=True)]
    assert min(found) > 0.85
    by_level = [overlap(find_foreground(c, grey_model), disc(*place)) for c, place in zip(cleans, PLACES, strict=True)]
    assert min(by_level) < 0.6


def test_what_the_object_encloses_belongs_to_it_and_crumbs_do_not() -> None:
    cleans = [on_table(seed, table) for seed, table in enumerate(TABLES)]
    clean = cleans[0].copy()
    clean[58:72, 58:72] = clean[2, 2]
    clean[3:9, 100:108] = clean[40, 64]
    found = find_by_cells(clean, learn_cells(cleans))
    assert found[58:72, 58:72].all()
    assert not found[:12, 95:].any()


@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
def test_a_texture_is_all_foreground(name: str) -> None:
    texture = getattr(data, name)()
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 512 - SIZE, (6, 2))
    cleans = [np.repeat(texture[r : r + SIZE, c : c + SIZE, None], 3, axis=2) for r, c in corners]
    model = learn_cells(cleans)
    assert model is None
    assert find_by_cells(cleans[0], model).all()


def test_the_same_photographs_give_the_same_bits_and_companions_do_not_matter() -> None:
    cleans = [on_table(seed, table) for seed, table in enumerate(TABLES[:3])]
    first, again = learn_cells(cleans), learn_cells(cleans)
    assert first is not None
    assert again is not None
    assert np.array_equal(first.direction, again.direction)
    assert first.threshold == again.threshold
    assert cell_features(cleans[0]).shape == (80, 80, 24)
    assert np.array_equal(
        clusters_of(np.stack([cell_features(cleans[0])])), clusters_of(cell_features(cleans[0])[None])
    )


def test_an_accelerator_finds_the_same() -> None:
    cleans = [on_table(seed, table) for seed, table in enumerate(TABLES[:3])]
    expected, found = learn_cells(cleans), learn_cells(cleans, torch.device(pretend_device.NAME, 0))
    assert expected is not None
    assert found is not None
    assert np.array_equal(found.direction, expected.direction)
    assert np.array_equal(find_by_cells(cleans[0], found), find_by_cells(cleans[0], expected))


def test_cells_of_a_flat_photograph_are_all_alike() -> None:
    """The network's own padding must not make a border of its own."""
    cells = cell_features(np.full((SIZE, SIZE, 3), 90, np.uint8))
    assert np.abs(cells - cells[40, 40]).max() < 0.01  # the cells of a photograph differ by 6 and more


def test_background_is_what_the_border_shows_more_than_the_inside() -> None:
    clusters = np.zeros((2, 50, 50), np.int32)
    clusters[:, 10:40, 10:40] = 1
    clusters[0, 15:20, 15:20] = 0
    background = background_cells(clusters)
    assert background is not None
    assert np.array_equal(background, clusters == 0)
    evenly = np.random.default_rng(0).integers(0, 6, (2, 50, 50)).astype(np.int32)
    assert background_cells(evenly) is None


def test_the_discriminant_is_fishers() -> None:
    """Of two Gaussian classes with one covariance: the direction S^-1 (m1 - m0), and half of each class's odds."""
    generator = np.random.default_rng(0)
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    means = np.array([[3.0, 0.0], [0.0, 1.0]])
    objects, background = (generator.multivariate_normal(m, covariance, 20000).astype(np.float32) for m in means)
    direction, threshold = linear_discriminant(objects, background)
    expected = np.linalg.solve(covariance, means[0] - means[1])
    assert np.allclose(direction / np.linalg.norm(direction), expected / np.linalg.norm(expected), atol=0.02)
    assert threshold == pytest.approx(direction @ means.mean(axis=0), abs=0.1)
    wrong = (objects @ direction <= threshold).mean(), (background @ direction > threshold).mean()
    assert wrong[0] == pytest.approx(wrong[1], abs=0.01)


def test_inputs_are_built_with_it(tmp_path: Path) -> None:
    source = mvtec_source(mvtec_tree(tmp_path / "disc", 4, 1, 2)).model_copy(update={"foreground": "learned"})
    shas = {build_inputs(params_of(source), tmp_path, tmp_path / name).sha256 for name in ("one", "two")}
    assert len(shas) == 1
    for image in read_inputs(tmp_path / "one").images:
        assert 0.3 < image.foreground.mean() < 0.6


def test_torch_is_imported_only_where_it_is_asked_for() -> None:
    script = "import sys, tasks.inputs.build; sys.exit('torch' in sys.modules)"
    project = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=project, check=False).returncode == 0
