"""CutPaste: the image's own pixels from elsewhere, inside the mask and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.contracts import Image
from tasks.networks.device import HOST
from tasks.progress import silent
from tasks.synthesis.cutpaste import fit, jittered, load, paint, patch_from_elsewhere
from tests.synthesis.places import SIZE, blob, inputs_of, levels, params_with, photograph, place_on

CLEAN = photograph("clean")
MASK = blob(40, 50, 12)
MODEL = load(inputs_of(CLEAN), params_with(), Path(), HOST)
PLAIN = params_with(cutpaste={"jitter": 0.0})


def test_outside_the_mask_nothing_changes_and_inside_most_does() -> None:
    fit(inputs_of(CLEAN), params_with(), Path(), HOST, silent)
    image = levels(paint(MODEL, [place_on(CLEAN, MASK)], params_with()))
    assert np.allclose(image[~MASK], CLEAN.image[~MASK], atol=1e-3)
    assert (np.abs(image - CLEAN.image)[MASK].max(axis=1) > 1).mean() > 0.9


def test_without_jitter_the_patch_is_the_image_at_one_offset() -> None:
    image = levels(paint(MODEL, [place_on(CLEAN, MASK)], PLAIN)).round().astype(np.uint8)
    rows, columns = np.nonzero(MASK)
    offsets = [
        (down, right)
        for down in range(-rows.min(), SIZE - rows.max())
        for right in range(-columns.min(), SIZE - columns.max())
        if np.array_equal(CLEAN.image[rows + down, columns + right], image[MASK])
    ]
    assert len(offsets) == 1
    assert offsets[0] != (0, 0)


def test_the_patch_differs_and_comes_from_the_object() -> None:
    left: Image = np.full((SIZE, SIZE, 3), 80, np.uint8)
    left[:, 60:] = 200
    left[:, 80:] = 20
    mask, foreground = blob(30, 25, 6), np.broadcast_to(np.arange(SIZE) < 80, (SIZE, SIZE))
    for seed in range(20):
        patch = patch_from_elsewhere(left, mask, foreground, 12.0, np.random.default_rng(seed))
        assert (patch != 20).all()
        assert np.abs(patch.astype(int) - 80).mean() >= 12


def test_jitter_stays_within_its_share() -> None:
    grey: Image = np.full((50, 3), 120, np.uint8)
    changed = [jittered(grey, 0.1, np.random.default_rng(seed)).astype(int) for seed in range(30)]
    assert max(np.abs(each - 120).max() for each in changed) <= 14
    assert len({each.tobytes() for each in changed}) > 10
    assert np.array_equal(jittered(grey, 0.0, np.random.default_rng(0)), grey)


def test_strength_orders_the_results_and_companions_do_not_matter() -> None:
    places = [place_on(CLEAN, MASK, strength) for strength in (0.0, 0.3, 0.6, 1.0)]
    together = paint(MODEL, places, params_with())
    changes = [np.abs(levels(together, number) - CLEAN.image)[MASK].mean() for number in range(4)]
    assert changes == sorted(changes)
    assert changes[0] < 1e-3 < changes[1]
    assert np.array_equal(levels(together, 3), levels(paint(MODEL, places[3:], params_with())))
    other = replace(places[3], spec=replace(places[3].spec, seed=1))
    assert not np.array_equal(levels(together, 3), levels(paint(MODEL, [other], params_with())))
