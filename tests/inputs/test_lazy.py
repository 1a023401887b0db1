"""Inputs that were read: opened without decoding, equal to what was written, and bounded in what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, InputImage
from tasks.files.json_text import write_json
from tasks.files.pictures import encode_image
from tasks.inputs import lazy
from tasks.inputs.dataset import (
    INPUTS_REPORT,
    SPLITS,
    Inputs,
    PackedImage,
    pack_image,
    read_inputs,
    write_category,
    write_splits,
)
from tasks.inputs.lazy import Encoded, Kept
from tasks.plan import plan_shards
from tests.factories import make_inputs, make_params

SIZE = 32


@pytest.fixture
def made() -> list[InputImage]:
    """Clean images, and a defect with a mask."""
    images = list(make_inputs(SIZE, ("mono", "poly"), cleans=3).images)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:9, 5:11] = True
    defect = {"image_id": "mono/crack/1", "defect_type": "crack", "sha256": "of a crack", "group": "crack"}
    return [*images, replace(images[0], image=255 - images[0].image, mask=mask, foreground=~mask, **defect)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Each image that is decoded from now on."""
    seen: list[bytes] = []
    decode = lazy.decode_image

    def note(data: bytes) -> np.ndarray:
        seen.append(data)
        return decode(data)

    monkeypatch.setattr(lazy, "decode_image", note)
    return seen


def packed(images: list[InputImage]) -> Iterator[PackedImage]:
    return (pack_image(image, encode_image(image.image)) for image in images)


def written(folder: Path, images: list[InputImage]) -> Inputs:
    entries = {}
    for category in {image.category for image in images}:
        entries |= write_category(folder, category, packed([each for each in images if each.category == category]))
    write_splits(folder, entries)
    write_json(folder / INPUTS_REPORT, {"skipped": []})
    return read_inputs(folder)


def test_what_only_counts_and_plans_decodes_nothing(
    tmp_path: Path, made: list[InputImage], decoded: list[bytes]
) -> None:
    inputs = written(tmp_path, made)
    assert inputs.categories == ("mono", "poly")
    assert inputs.by_id("mono/crack/1").mask is not made[-1].mask
    decoded.clear()
    fresh = read_inputs(tmp_path)
    assert len(fresh.clean("mono", TRAIN) + fresh.clean("mono", TEST)) == 4
    assert [image.group for image in fresh.defects("mono", made[0].split)] == ["crack"]
    assert fresh.defect_types("mono") == ("crack",)
    assert all(image.mask is None for image in fresh.images if image.defect_type == CLEAN)
    plans = plan_shards(make_params(SIZE, samples=4, shard_size=2), fresh, "model")
    assert [len(plan.specs) for plan in plans] == [2] * 4
    assert decoded == []


def test_what_is_looked_at_is_what_was_written(tmp_path: Path, made: list[InputImage], decoded: list[bytes]) -> None:
    inputs = written(tmp_path, made)
    for image in made * 2:
        read = inputs.by_id(image.image_id)
        np.testing.assert_array_equal(read.image, image.image)
        np.testing.assert_array_equal(read.foreground, image.foreground)
        assert (read.mask is None) == (image.mask is None)
        if image.mask is not None:
            np.testing.assert_array_equal(read.mask, image.mask)
    assert len(decoded) == len(made), "decoded once, and kept"


def test_a_copy_has_what_it_was_given_and_else_the_pictures(tmp_path: Path, made: list[InputImage]) -> None:
    read = written(tmp_path, made).by_id("mono/crack/1")
    dark = np.zeros_like(read.image)
    copy = replace(read, image=dark, split=TEST)
    assert copy.image is dark
    assert (copy.split, copy.image_id) == (TEST, read.image_id)
    np.testing.assert_array_equal(copy.mask, made[-1].mask)
    assert read.image.any(), "the copy has changed what it was made from"


def test_a_picture_that_was_changed_is_refused_when_it_is_looked_at(tmp_path: Path, made: list[InputImage]) -> None:
    written(tmp_path, made)
    poly = [image for image in made if image.category == "poly"]
    write_category(tmp_path, "poly", packed([replace(poly[0], image=255 - poly[0].image), *poly[1:]]))
    inputs = read_inputs(tmp_path)
    assert inputs.by_id(poly[1].image_id).image.any()
    with pytest.raises(DefectoryError, match=rf"poly.parquet: the pictures of {poly[0].image_id} .* belong together"):
        _ = inputs.by_id(poly[0].image_id).image


def test_a_damaged_picture_is_named_by_its_file(tmp_path: Path, made: list[InputImage]) -> None:
    written(tmp_path, made)
    poly = [image for image in made if image.category == "poly"]
    write_category(tmp_path, "poly", [pack_image(image, b"no picture") for image in poly])
    with pytest.raises(DefectoryError, match=r"poly.parquet: damaged .* run inputs again"):
        _ = read_inputs(tmp_path).images[-1].foreground


def test_an_image_that_the_split_manifest_does_not_know_is_refused_at_once(
    tmp_path: Path, made: list[InputImage]
) -> None:
    written(tmp_path, made)
    write_category(tmp_path, "poly", packed([replace(made[0], image_id="poly/clean/new", category="poly")]))
    with pytest.raises(DefectoryError, match=f"{SPLITS} do not belong together"):
        read_inputs(tmp_path)


def test_no_more_is_kept_than_fits(made: list[InputImage], tmp_path: Path, decoded: list[bytes]) -> None:
    encoded = [each._encoded for each in written(tmp_path, made).images if isinstance(each, lazy.ReadImage)]
    size = encoded[0].decode().size
    decoded.clear()
    kept = Kept(3 * size)
    for each in (*encoded[:3], encoded[0], encoded[3], encoded[0], encoded[1]):
        kept.pictures(each)
    assert decoded == [each.image for each in (*encoded[:4], encoded[1])], "the oldest look goes first"


def test_threads_get_the_same_pictures(tmp_path: Path, made: list[InputImage]) -> None:
    encoded: list[Encoded] = [
        each._encoded for each in written(tmp_path, made).images if isinstance(each, lazy.ReadImage)
    ]
    kept, wanted = Kept(2 * encoded[0].decode().size), [each.decode().sha256 for each in encoded]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda number: kept.pictures(encoded[number % len(encoded)]).sha256, range(200)))
    assert got == [wanted[number % len(encoded)] for number in range(200)]
