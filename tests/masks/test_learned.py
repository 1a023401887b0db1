"""The source `learned`: generated masks are kept in a bank and placed like real ones, and never mixed up with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.contracts import CLEAN, ReferenceMask
from tasks.files.names import LEARNED_MASKS
from tasks.masks.draw import draw_mask
from tasks.masks.learned import all_references, read_learned, write_learned
from tasks.masks.place import crop
from tasks.params import MasksParams
from tests.masks.helpers import SIZE, disc, image, listed, spec

CELL = image(f"cell/{CLEAN}/0", foreground=disc(60))


def bar(height: int, width: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[10 : 10 + height, 20 : 20 + width] = True
    return mask


def made(name: str, mask: np.ndarray) -> ReferenceMask:
    return ReferenceMask(f"learned/test/cell/crack/{name}", "cell", "crack", mask, pseudo=False, learned=True)


def test_the_bank_comes_back_as_it_was_and_is_byte_stable(tmp_path: Path) -> None:
    masks = [made("b", bar(5, 30)), made("a", bar(9, 9))]
    write_learned(tmp_path / "one.parquet", masks)
    write_learned(tmp_path / "two.parquet", masks[::-1])
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    back = read_learned(tmp_path / "one.parquet")
    assert [one.reference_id[-1] for one in back] == ["a", "b"]
    assert all(one.learned for one in back)
    assert np.array_equal(back[1].mask, masks[0].mask)


def test_learned_masks_are_drawn_by_their_own_source_alone(tmp_path: Path) -> None:
    real = image("cell/crack/0", mask=bar(40, 4))
    write_learned(tmp_path / LEARNED_MASKS, [made("a", bar(6, 25))])
    references = all_references(listed([CELL, real]), tmp_path)
    learned = draw_mask(spec("learned", 3), CELL, references, MasksParams())
    assert learned.source == "learned"
    assert learned.reference_id.endswith("/a")
    assert learned.motion is None
    assert np.array_equal(crop(learned.mask), np.ones((6, 25), dtype=bool))
    assert not (learned.mask & ~CELL.foreground).any()
    assert all(
        draw_mask(spec("reference", n), CELL, references, MasksParams()).reference_id == "cell/crack/0"
        for n in range(8)
    )


def test_without_a_bank_strokes_take_its_place(tmp_path: Path) -> None:
    assert all_references(listed([CELL]), tmp_path) == ()
    assert draw_mask(spec("learned", 3), CELL, (), MasksParams()).source == "strokes"
