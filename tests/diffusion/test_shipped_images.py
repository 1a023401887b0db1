"""What the shipped codec is trained on: nothing that has a licence of its own, and every picture by its number."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tasks.contracts import DefectoryError
from tasks.diffusion.shipped_images import SIZE, Recipe, gather, load_images, save_images, tiles


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """A folder in the layout of @pmndrs/assets."""
    generator = np.random.default_rng(0)
    for kind, side in (("normals", 300), ("matcaps", 64)):
        (tmp_path / kind).mkdir()
        held = io.BytesIO()
        picture = generator.integers(0, 256, (side, side, 3)).astype(np.uint8)
        PIL.Image.fromarray(picture).save(held, "WEBP")
        text = f'export default "data:image/webp;base64,{base64.b64encode(held.getvalue()).decode()}"'
        (tmp_path / kind / "0000.webp.js").write_text(text)
    return tmp_path


def test_tiles_cover_a_photograph_at_every_scale_that_holds_one() -> None:
    photograph = np.zeros((400, 600, 3), np.uint8)
    photograph[-1, -1] = 255
    found = tiles(photograph)
    assert {tile.shape for tile in found} == {(SIZE, SIZE, 3)}
    assert max(int(tile[-1, -1, 0]) for tile in found) == 255
    assert len(found) == 2 * 3 + 2 * 2


def test_images_carry_their_sources_and_survive_a_file(assets: Path, tmp_path: Path) -> None:
    recipe = Recipe(seed=1, procedural=4, reliefs=2, assets=assets, packages=("brick", "clock"))
    images = gather(recipe)
    assert images.pictures.shape[1:] == (SIZE, SIZE, 3)
    assert len(images.shares) == len(images.pictures)
    assert np.isclose(images.shares.sum(), 1)
    for word in ("brick (CC0)", "2 reliefs", "@pmndrs/assets", "4 procedural images"):
        assert word in images.sources
    save_images(images, tmp_path / "images.npz")
    again = load_images(tmp_path / "images.npz")
    assert np.array_equal(again.pictures, images.pictures)
    assert again.sources == images.sources


def test_more_images_leave_the_first_ones_as_they_are() -> None:
    few, more = (gather(Recipe(seed=1, procedural=n, reliefs=0, packages=("brick",))) for n in (2, 4))
    assert np.array_equal(few.pictures, more.pictures[: len(few.pictures)])


def test_a_folder_without_assets_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match="@pmndrs/assets"):
        gather(Recipe(seed=1, procedural=0, reliefs=1, assets=tmp_path, packages=("brick",)))
