"""DRAEM: its equation holds to the pixel, and the textures are part of what a sample is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tasks.contracts import DefectoryError
from tasks.files.pictures import decode_image, encode_image
from tasks.files.products import marker_of
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.progress import silent
from tasks.synthesis.draem import _CHANGES, CHANGES, Model, changed, fit, load, paint, random_part
from tasks.synthesis.draem.textures import TEXTURES, squared
from tests.synthesis.places import SIZE, blob, inputs_of, levels, params_with, photograph, picture, place_on

CLEAN = photograph("clean")
MASK = blob(40, 50, 14)
INPUTS = inputs_of(CLEAN)


def folder_with(folder: Path, *names: str) -> Params:
    folder.mkdir(exist_ok=True)
    for name in names:
        PIL.Image.fromarray(picture(name, 120)).save(folder / f"{name}.png")
    return params_with(draem={"textures": str(folder)})


def test_the_equation_holds_and_outside_is_exact() -> None:
    model = Model((encode_image(picture("texture")),))
    places = [place_on(CLEAN, MASK, strength) for strength in (0.0, 0.35, 1.0)]
    painted = paint(model, places, params_with())
    texture, inside = levels(painted, 2), MASK[..., None]
    for number, opacity in enumerate((0.0, 0.35, 1.0)):
        beta = 1 - opacity
        expected = (1 - inside) * CLEAN.image + (1 - beta) * inside * texture + beta * inside * CLEAN.image
        assert np.allclose(levels(painted, number), expected, atol=1e-2)
    assert np.abs(texture - CLEAN.image)[MASK].mean() > 5
    assert np.allclose(levels(paint(model, places[1:2], params_with())), levels(painted, 1))


def test_grey_photographs_get_grey_textures() -> None:
    grey = photograph("grey", image=np.repeat(picture("grey")[..., :1], 3, axis=2))
    image = levels(paint(Model((encode_image(picture("texture")),)), [place_on(grey, MASK)], params_with()))
    assert np.allclose(image, image[..., :1], atol=1e-3)


def test_ten_changes_each_keep_the_size_and_three_are_made() -> None:
    texture = picture("texture")
    assert (len(_CHANGES), CHANGES) == (10, 3)
    for change in _CHANGES:
        after = np.asarray(change(PIL.Image.fromarray(texture), np.random.default_rng(1)))
        assert after.shape == texture.shape
        assert not np.array_equal(after, texture)
    results = {changed(texture, np.random.default_rng(seed)).tobytes() for seed in range(8)}
    assert len(results) == 8


def test_parts_and_squares_have_the_size_asked_for() -> None:
    assert random_part(picture("texture", 50), 96, np.random.default_rng(0)).shape == (96, 96, 3)
    small = picture("small", 30)
    tiled = squared(small, 64)
    assert np.array_equal(tiled[:30, :30], small)
    assert np.array_equal(tiled[:30, 30:60], small[:, ::-1])
    assert squared(picture("large", 130)[:100], 64).shape == (64, 64, 3)


def test_textures_are_made_once_and_other_bytes_are_another_product(tmp_path: Path) -> None:
    params = folder_with(tmp_path / "textures", "a", "b")
    (tmp_path / "textures" / "broken.png").write_bytes(b"no picture")
    fit(INPUTS, params, tmp_path, HOST, silent)
    marker, written = marker_of(tmp_path / TEXTURES).read_text(), (tmp_path / TEXTURES).stat().st_mtime_ns
    assert len(load(INPUTS, params, tmp_path, HOST).textures) == 2
    fit(INPUTS, params, tmp_path, HOST, silent)
    assert (tmp_path / TEXTURES).stat().st_mtime_ns == written
    folder_with(tmp_path / "elsewhere", "a", "b")
    (tmp_path / "elsewhere" / "broken.png").write_bytes(b"no picture")
    fit(INPUTS, params_with(draem={"textures": str(tmp_path / "elsewhere")}), tmp_path, HOST, silent)
    assert marker_of(tmp_path / TEXTURES).read_text() == marker
    PIL.Image.fromarray(picture("c", 120)).save(tmp_path / "textures" / "a.png")
    fit(INPUTS, params, tmp_path, HOST, silent)
    assert marker_of(tmp_path / TEXTURES).read_text() != marker


def test_without_a_folder_there_are_free_textures(tmp_path: Path) -> None:
    fit(INPUTS, params_with(), tmp_path, HOST, silent)
    textures = [decode_image(texture) for texture in load(INPUTS, params_with(), tmp_path, HOST).textures]
    assert len(textures) == 64
    assert {texture.shape for texture in textures} == {(SIZE, SIZE, 3)}
    assert len({texture.tobytes() for texture in textures}) == 64


def test_missing_textures_are_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"draem\.textures: no pictures in"):
        fit(INPUTS, params_with(draem={"textures": str(tmp_path)}), tmp_path, HOST, silent)
    with pytest.raises(DefectoryError, match=r"textures\.parquet: missing"):
        load(INPUTS, params_with(), tmp_path, HOST)
