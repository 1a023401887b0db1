"""NSA: the Poisson equation is solved, nothing shows at the border, and what changes too little is drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import TEST, InputImage
from tasks.networks.device import HOST
from tasks.synthesis.nsa import Model, load, paint, patch_below
from tasks.synthesis.nsa.poisson import PoissonEquation
from tests.synthesis.places import SIZE, blob, inputs_of, levels, params_with, photograph, picture, place_on

CLEAN, OTHER = photograph("clean"), photograph("other")
MASK = blob(40, 50, 14)
CORNER = blob(0, 0, 20)
NORMAL = params_with(nsa={"clone": "normal"})


def model_of(*images: InputImage) -> Model:
    return load(inputs_of(*images), NORMAL, Path(), HOST)


@pytest.mark.parametrize("mask", [MASK, CORNER, MASK | CORNER], ids=["inside", "corner", "both"])
def test_the_solution_satisfies_the_equation(mask: np.ndarray) -> None:
    patch = picture("patch").astype(np.float32)
    solved = PoissonEquation(mask).solve(CLEAN.image, patch, mixed=False).astype(np.float64)
    assert np.array_equal(solved[~mask], CLEAN.image[~mask])
    padded, guide = (np.pad(a.astype(np.float64), ((1, 1), (1, 1), (0, 0)), "edge") for a in (solved, patch))
    laplacian = [4 * a[1:-1, 1:-1] - a[:-2, 1:-1] - a[2:, 1:-1] - a[1:-1, :-2] - a[1:-1, 2:] for a in (padded, guide)]
    assert np.abs(laplacian[0] - laplacian[1])[mask].max() < 1e-2


def test_a_patch_of_equal_gradients_changes_nothing_and_a_plain_one_leaves_a_membrane() -> None:
    equation = PoissonEquation(MASK)
    brighter = CLEAN.image.astype(np.float32) + 40
    for mixed in (False, True):
        assert np.allclose(equation.solve(CLEAN.image, brighter, mixed), CLEAN.image, atol=1e-3)
    plain = np.zeros((SIZE, SIZE, 3), np.float32)
    ramp = np.repeat(np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.uint8)[..., None], 3, axis=2)
    assert np.allclose(equation.solve(ramp, plain, mixed=False), ramp, atol=1e-3)
    assert np.allclose(equation.solve(CLEAN.image, plain, mixed=True), CLEAN.image, atol=1e-3)


def test_mixed_keeps_the_images_own_edges() -> None:
    image = np.full((SIZE, SIZE, 3), 60, np.uint8)
    image[:, 50:] = 180
    plain = np.full((SIZE, SIZE, 3), 9, np.float32)
    equation = PoissonEquation(MASK)
    assert np.allclose(equation.solve(image, plain, mixed=True), image, atol=1e-3)
    assert np.abs(equation.solve(image, plain, mixed=False).astype(float) - image)[MASK].mean() > 10


def test_strength_is_linear_and_outside_is_exact() -> None:
    strengths = (0.0, 0.5, 1.0, 1.2)
    painted = paint(model_of(CLEAN, OTHER), [place_on(CLEAN, MASK, s) for s in strengths], NORMAL)
    images = [levels(painted, number) for number in range(4)]
    changes = [np.abs(image - CLEAN.image)[MASK].mean() for image in images]
    assert changes == sorted(changes)
    assert changes[0] < 1e-3 < changes[1]
    unclipped = (images[3] > 0).all(axis=2) & (images[3] < 255).all(axis=2)
    difference = [(image - CLEAN.image)[unclipped] for image in images]
    assert np.allclose(difference[1], difference[2] / 2, atol=0.01)
    assert np.allclose(images[2][~MASK], CLEAN.image[~MASK], atol=1e-3)


def test_patches_come_from_other_normals_of_the_train_split() -> None:
    flat = photograph("flat", image=np.full((SIZE, SIZE, 3), 90, np.uint8))
    held = photograph("held", split=TEST)
    steps = picture("steps") // 128 * 90 + 40
    model = model_of(flat, held, photograph("steps", image=steps.astype(np.uint8)))
    assert [image.group for image in model.normals["part"]] == ["flat", "steps"]
    for seed in range(5):
        image = levels(paint(model, [place_on(flat, MASK, seed=seed)], NORMAL))
        assert np.abs(image - 90)[MASK].max() > 5


def test_what_changes_too_little_is_drawn_again() -> None:
    flat = photograph("flat", image=np.full((SIZE, SIZE, 3), 90, np.uint8))
    plains = [photograph(f"plain{n}", image=np.full((SIZE, SIZE, 3), n, np.uint8)) for n in range(2)]
    model = model_of(flat, *plains, OTHER)

    def changed(min_change: float) -> list[bool]:
        params = params_with(nsa={"clone": "normal", "min_change": min_change})
        places = [place_on(flat, MASK, seed=seed) for seed in range(12)]
        painted = paint(model, places, params)
        return [bool(np.abs(levels(painted, n) - 90)[MASK].mean() > 3) for n in range(12)]

    assert not all(changed(0.0))
    assert sum(changed(3.0)) >= 11


def test_patches_fit_the_mask_wherever_it_lies() -> None:
    for seed, mask in enumerate((MASK, CORNER, blob(90, 90, 12), blob(48, 48, 46))):
        patch = patch_below(mask, OTHER.image, OTHER.foreground, np.random.default_rng(seed))
        assert patch.shape == CLEAN.image.shape
        assert patch[mask].std() > 5


def test_companions_do_not_matter() -> None:
    places = [place_on(CLEAN, MASK, seed=seed) for seed in range(3)]
    model = model_of(CLEAN, OTHER)
    together = paint(model, places, NORMAL)
    assert np.array_equal(levels(together, 2), levels(paint(model, places[2:], NORMAL)))
    assert not np.array_equal(levels(together, 1), levels(together, 2))
