"""A drawn mask keeps every promise: inside the foreground, within the area limits, fixed by its seed, and honest."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import TEST, DefectoryError, Mask, ReferenceMask
from tasks.masks.draw import draw_mask, references_of
from tasks.params import MasksParams
from tests.masks.helpers import SIZE, disc, image, listed, reference, ring, spec

PARAMS = MasksParams()
BAR = np.zeros((SIZE, SIZE), dtype=bool)
BAR[10:16, 20:50] = True
REFERENCES = (reference("cell/crack/0", BAR), reference("cell/crack/1", disc(8)))


@pytest.mark.parametrize("source", ["perlin", "strokes", "reference"])
@pytest.mark.parametrize("foreground", [disc(), ring()], ids=["disc", "ring"])
def test_every_draw_is_inside_and_within_the_area(source: str, foreground: Mask) -> None:
    clean = image("cell/clean/0", foreground=foreground)
    for seed in range(60):
        drawn = draw_mask(spec(source, seed), clean, REFERENCES, PARAMS)
        assert not (drawn.mask & ~foreground).any()
        assert PARAMS.min_area <= drawn.mask.mean() <= PARAMS.max_area
        assert drawn.source == source
        assert (drawn.reference_id != "") == (source == "reference")


@pytest.mark.parametrize("source", ["perlin", "strokes", "reference"])
def test_area_limits_bind(source: str) -> None:
    limits = MasksParams(min_area=0.01, max_area=0.013)
    for seed in range(15):
        drawn = draw_mask(spec(source, seed), image("cell/clean/0"), REFERENCES, limits)
        assert 0.01 <= drawn.mask.mean() <= 0.013


@pytest.mark.parametrize("source", ["perlin", "strokes", "reference"])
def test_the_seed_fixes_the_mask(source: str) -> None:
    clean = image("cell/clean/0", foreground=disc())
    first = [draw_mask(spec(source, seed), clean, REFERENCES, PARAMS).mask.tobytes() for seed in range(10)]
    again = [draw_mask(spec(source, seed), clean, REFERENCES[::-1], PARAMS).mask.tobytes() for seed in range(10)]
    assert first == again
    assert len(set(first)) == 10


def test_a_reference_of_the_same_type_is_preferred() -> None:
    references = (*REFERENCES, reference("cell/hole/0", disc(9)), reference("bottle/crack/0", disc(9)))
    clean = image("cell/clean/0")

    def used(defect_type: str) -> set[str]:
        specs = [spec("reference", seed, defect_type) for seed in range(30)]
        return {draw_mask(each, clean, references, PARAMS).reference_id for each in specs}

    assert used("crack") == {"cell/crack/0", "cell/crack/1"}
    assert used("hole") == {"cell/hole/0"}
    assert used("stain") == {"cell/crack/0", "cell/crack/1", "cell/hole/0"}


@pytest.mark.parametrize(
    "references",
    [(), (reference("bottle/crack/0", disc(9)),), (reference("cell/crack/0", disc(60)),)],
    ids=["none", "another category's", "too large for the foreground"],
)
def test_without_a_usable_reference_strokes_are_drawn_and_named(references: tuple[ReferenceMask, ...]) -> None:
    drawn = draw_mask(spec("reference", 1), image("cell/clean/0", foreground=disc()), references, PARAMS)
    assert (drawn.source, drawn.reference_id) == ("strokes", "")


def test_a_foreground_without_room_is_one_clear_error() -> None:
    clean = image("cell/clean/0", foreground=disc(2.5))
    with pytest.raises(DefectoryError, match=r"cell-000001.*cell/clean/0.*masks\.min_area"):
        draw_mask(spec("perlin", 1), clean, REFERENCES, PARAMS)


def test_references_come_from_the_train_split() -> None:
    images = (
        image("cell/clean/0"),
        image("cell/crack/0", mask=disc(9)),
        image("cell/crack/1", TEST, mask=disc(9)),
        image("cell/crack/2"),
        image("cell/crack/3", mask=np.zeros((SIZE, SIZE), dtype=bool)),
    )
    made = reference("cell/crack/2", disc(4), pseudo=True)
    found = references_of(listed(images), [made])
    assert [(each.reference_id, each.pseudo) for each in found] == [("cell/crack/0", False), ("cell/crack/2", True)]


def test_a_pseudo_mask_of_a_test_image_is_refused() -> None:
    images = (image("cell/clean/0"), image("cell/crack/1", TEST))
    with pytest.raises(DefectoryError, match=r"cell/crack/1.*train split"):
        references_of(listed(images), [reference("cell/crack/1", disc(4), pseudo=True)])
