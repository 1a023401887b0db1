"""Masks go where the type's references are, in their directions and at their sizes; or anywhere, if those are."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon2mask

from tasks.contracts import TRAIN, Mask, ReferenceMask
from tasks.masks.draw import draw_mask
from tasks.masks.habit import lay_like, lie_of, observations_of
from tasks.params import MasksParams
from tests.masks.helpers import SIZE, image, spec

WHOLE = np.ones((SIZE, SIZE), bool)
DRAWS = 80


def bar(row: float, column: float, degrees: float, length: float = 24, width: float = 4) -> Mask:
    """A bar around a point, its long axis so many degrees from the columns."""
    along = np.array([np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))])
    across = np.array([along[1], -along[0]])
    corners = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    points = [(row, column) + a * along * length / 2 + b * across * width / 2 for a, b in corners]
    return polygon2mask((SIZE, SIZE), points)


def references(masks: list[Mask], foreground: Mask = WHOLE) -> list[ReferenceMask]:
    return [
        ReferenceMask(f"cell/crack/{n}", "cell", "crack", mask, pseudo=False, lie=lie_of(mask, foreground))
        for n, mask in enumerate(masks)
    ]


def drawn(source: str, known: list[ReferenceMask], params: MasksParams, foreground: Mask = WHOLE) -> list[Mask]:
    clean = image("cell/clean/0", TRAIN, foreground=foreground)
    return [draw_mask(spec(source, seed), clean, known, params).mask for seed in range(DRAWS)]


def measured(masks: list[Mask], foreground: Mask = WHOLE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the middles, and degrees from the columns between -90 and 90."""
    lies = [lie for mask in masks if (lie := lie_of(mask, foreground)) is not None]
    turns = np.degrees([lie.direction for lie in lies if lie.direction is not None])
    return np.array([lie.row for lie in lies]), np.array([lie.column for lie in lies]), (turns + 90) % 180 - 90


def at_the_right_edge(count: int = 12) -> list[Mask]:
    generator = np.random.default_rng(0)
    return [bar(generator.uniform(0.2, 0.8) * SIZE, 0.82 * SIZE, generator.normal(0, 3)) for _ in range(count)]


@pytest.mark.parametrize("source", ["reference", "strokes"])
def test_references_along_the_columns_at_the_right_edge_are_followed(source: str) -> None:
    rows, columns, turns = measured(drawn(source, references(at_the_right_edge()), MasksParams()))
    assert np.mean(columns > 0.65) > 0.9
    assert rows.min() < 0.3
    assert rows.max() > 0.7
    assert np.mean(np.abs(turns) < 25) > (0.9 if source == "reference" else 0.75)


def test_references_everywhere_are_followed_everywhere() -> None:
    generator = np.random.default_rng(1)
    masks = [bar(*generator.uniform(0.2, 0.8, 2) * SIZE, generator.uniform(0, 180)) for _ in range(40)]
    rows, columns, turns = measured(drawn("reference", references(masks), MasksParams()))
    for values, low, high in ((rows, 0.3, 0.7), (columns, 0.3, 0.7), (turns, -45, 45)):
        shares = [np.mean(values < low), np.mean((values >= low) & (values <= high)), np.mean(values > high)]
        assert min(shares) > 0.08


def test_sizes_are_the_references_and_few_are_followed_more_freely() -> None:
    small, large = bar(60, 60, 0, 16, 3), bar(60, 60, 0, 48, 9)
    areas = [mask.sum() for mask in drawn("reference", references([small, large] * 8), MasksParams())]
    assert np.mean(np.array(areas) < 1.6 * small.sum()) > 0.3
    assert np.mean(np.array(areas) > 0.6 * large.sum()) > 0.3
    spreads = []
    for count in (1, 16):
        rows, _, turns = measured(drawn("reference", references([small] * count), MasksParams(min_area=0.0005)))
        spreads.append((rows.std(), turns.std()))
    assert spreads[0][0] > 2 * spreads[1][0]
    assert spreads[0][1] > 2 * spreads[1][1]


def test_photographs_of_one_object_are_one_observation() -> None:
    small = bar(60, 60, 0, 16, 3)
    rows = []
    for group in ("one", ""):
        lies = [lie for _ in range(16) if (lie := lie_of(small, WHOLE, group))]
        generator = np.random.default_rng(0)
        count = observations_of(lies)
        laid = [lay_like(small, WHOLE, lies[0], count, MasksParams(), generator, sized=True) for _ in range(60)]
        rows.append(np.std([np.argwhere(each[0])[:, 0].mean() for each in laid if each is not None]))
    assert rows[0] > 2 * rows[1]


def test_places_are_the_objects_own() -> None:
    """References on objects at the left of their photographs lead to the same end of an object at the right."""
    left, right = np.zeros_like(WHOLE), np.zeros_like(WHOLE)
    left[20:80, 4:54], right[20:80, 60:110] = True, True
    masks = [bar(row, 44, 90, 16, 3) for row in (40, 45, 50, 55, 60)]
    found = drawn("reference", references(masks, left), MasksParams(min_area=0.0005), right)
    _, columns, _ = measured(found, right)
    assert np.mean(columns > 0.6) > 0.9
    assert all(not (mask & ~right).any() for mask in found)


@pytest.mark.parametrize(
    ("params", "turned"),
    [
        (MasksParams(placement="anywhere"), True),
        (MasksParams(rotation=180), True),
        (MasksParams(rotation=5), False),
        (MasksParams(), False),
    ],
)
def test_params_overrule_what_was_learned(params: MasksParams, turned: bool) -> None:
    _, columns, turns = measured(drawn("reference", references(at_the_right_edge()), params))
    assert bool(np.mean(np.abs(turns) > 30) > 0.4) == turned
    assert bool(np.mean(columns < 0.6) > 0.4) == (params.placement == "anywhere")


def test_a_motion_brings_the_shape_where_the_mask_is() -> None:
    lies = [lie for mask in at_the_right_edge() if (lie := lie_of(mask, WHOLE))]
    shape = bar(30, 30, 70)
    laid = lay_like(shape, WHOLE, lies[0], len(lies), MasksParams(), np.random.default_rng(3), sized=True)
    assert laid is not None
    mask, motion = laid
    rows, columns = np.nonzero(shape)
    reached = (motion @ np.stack([columns, rows, np.ones(len(rows))]))[:2]
    assert np.allclose(reached.mean(axis=1)[::-1], np.argwhere(mask).mean(axis=0), atol=0.7)


def test_nothing_lies_nowhere() -> None:
    assert lie_of(np.zeros_like(WHOLE), WHOLE) is None
    assert lie_of(bar(40, 40, 0), np.zeros_like(WHOLE)) is None
    disc = np.hypot(*(np.mgrid[:SIZE, :SIZE] - 50)) < 12
    lie = lie_of(disc, WHOLE)
    assert lie is not None
    assert lie.direction is None
