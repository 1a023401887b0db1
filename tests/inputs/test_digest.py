"""The sources' hash follows their bytes and their names, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tasks.inputs.readers import sources_sha256
from tasks.params import InputsParams, SourceParams

PARAMS = InputsParams(sources=[SourceParams(kind="folder", root="parts", category="part", clean=["*.png"])])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    for number in range(3):
        PIL.Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(tmp_path / "parts" / f"{number}.png")
    return tmp_path


def test_only_names_and_bytes_count(root: Path) -> None:
    before = sources_sha256(PARAMS, root)
    os.utime(root / "parts" / "0.png", (0, 0))
    assert sources_sha256(PARAMS, root) == before
    (root / "parts" / "0.png").rename(root / "parts" / "9.png")
    renamed = sources_sha256(PARAMS, root)
    assert renamed != before
    data = bytearray((root / "parts" / "9.png").read_bytes())
    data[-1] ^= 1
    (root / "parts" / "9.png").write_bytes(data)
    assert sources_sha256(PARAMS, root) not in (before, renamed)


def test_a_removed_photograph_is_noticed(root: Path) -> None:
    before = sources_sha256(PARAMS, root)
    (root / "parts" / "2.png").unlink()
    assert sources_sha256(PARAMS, root) != before
