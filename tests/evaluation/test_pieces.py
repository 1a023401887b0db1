"""Photographs of like parts, in which one regular thing lies on another, share no piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import elpv_dataset
import numpy as np
import PIL.Image
import pytest

from tasks.contracts import Image
from tasks.evaluation.pieces import shared_pieces
from tasks.inputs.normalise import fit_image

FOLDER = Path(elpv_dataset.__file__).parent / "data" / "images"
OTHERS = (*range(460, 530, 7), *range(1301, 1360, 6))
"""Cells with busbars in one piece and in dashes, as the tested ones have."""


def cells(numbers: Sequence[int]) -> list[Image]:
    pictures = [PIL.Image.open(FOLDER / f"cell{number:04d}.png").convert("RGB") for number in numbers]
    return [fit_image(np.asarray(picture), 128, "squash") for picture in pictures]


def test_busbars_that_are_moved_along_themselves_are_no_shared_piece() -> None:
    tested = [515, 1261, 1269, 1270, 1335, 1340]
    assert list(shared_pieces(cells(tested), cells([477, 1303, *OTHERS]))) == []


def test_a_piece_is_found_among_cells_that_look_alike() -> None:
    tested = cells([515, 1261, 1108])
    cut = PIL.Image.fromarray(tested[2][30:110, 20:100]).resize((128, 128), PIL.Image.Resampling.BICUBIC)
    found = list(shared_pieces(tested, [*cells([477, 1303, *OTHERS]), np.asarray(cut)]))
    assert [(piece.tested, piece.trained) for piece in found] == [(2, 2 + len(OTHERS))]
    assert found[0].zoom == pytest.approx(128 / 80, rel=0.03)
