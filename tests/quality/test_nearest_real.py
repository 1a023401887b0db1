"""The nearest real image: distances worked by hand, what is left out, and the file they come from."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.inputs.dataset import Inputs
from tasks.networks.lpips import shared_lpips
from tasks.quality.nearest_real import REAL_DESCRIPTORS, nearest_real, read_real_descriptors
from tasks.quality.real_descriptors import write_real_descriptors
from tests.factories import make_inputs
from tests.quality.test_ic_lpips import lpips

REAL = [
    ("bottle/clean/0", "bottle", "clean", "a", 0.0),
    ("bottle/clean/1", "bottle", "clean", "a", 0.125),
    ("bottle/clean/2", "bottle", "clean", "b", 2.0),
    ("bottle/crack/0", "bottle", "crack", "a", 1.0),
    ("tile/clean/0", "tile", "clean", "c", 0.0),
]


def along(place: float) -> np.ndarray:
    """A descriptor at this place of the first axis: squared distances are squared differences of places."""
    return np.array([place, *[0.0] * 255], dtype=np.float16)


def real(rows: list[tuple[str, str, str, str, float]] = REAL) -> pd.DataFrame:
    columns = ["image_id", "category", "defect_type", "group", "place"]
    table = pd.DataFrame(rows, columns=columns)
    table["descriptor"] = pd.Series([along(row[-1]) for row in rows], dtype=object)
    return table


def sample(category: str, clean_id: str, place: float | None) -> pd.DataFrame:
    descriptor = None if place is None else along(place)
    return pd.DataFrame([{"category": category, "clean_id": clean_id, "descriptor": descriptor}])


@pytest.mark.parametrize(
    ("clean_id", "place", "expected"),
    [
        ("bottle/clean/2", 0.0, (0.0, "bottle/clean/0")),
        ("bottle/clean/0", 0.0, (1.0, "bottle/crack/0")),  # another view of its own object does not count
        ("bottle/clean/0", 1.75, (0.0625, "bottle/clean/2")),
        ("bottle/clean/2", 0.5, (0.140625, "bottle/clean/1")),
        ("bottle/clean/0", 1.5, (0.25, "bottle/clean/2")),  # as near as bottle/crack/0, which is later by name
        ("tile/clean/0", 0.0, (math.inf, "")),
        ("bottle/clean/0", None, (math.nan, "")),
    ],
)
def test_the_nearest_real_image_is_that_worked_by_hand(
    clean_id: str, place: float | None, expected: tuple[float, str]
) -> None:
    (found,) = nearest_real(sample(clean_id.split("/")[0], clean_id, place), real()).to_records(index=False)
    assert found["nearest_real_id"] == expected[1]
    assert found["nearest_real_lpips"] == pytest.approx(expected[0], nan_ok=True)


def test_rows_keep_their_index_and_do_not_depend_on_their_order() -> None:
    places = np.linspace(0, 2, 40)
    rows = [sample("bottle", f"bottle/clean/{number % 3}", place) for number, place in enumerate(places)]
    scores = pd.concat(rows, ignore_index=True)
    there, back = nearest_real(scores, real()), nearest_real(scores.iloc[::-1], real().iloc[::-1])
    pd.testing.assert_frame_equal(there, back.sort_index())


def test_descriptors_of_the_train_split_are_written_once_and_estimate_lpips(tmp_path: Path) -> None:
    inputs = make_inputs(64, cleans=5)
    write_real_descriptors(inputs, tmp_path)
    found = read_real_descriptors(tmp_path, inputs.sha256)
    assert found is not None
    train = [image for image in inputs.images if image.split == "train"]
    assert list(found["image_id"]) == [image.image_id for image in train]
    assert shared_lpips().network == "alexnet"
    descriptors = np.stack(found["descriptor"].to_list()).astype(np.float64)
    estimated = np.square(descriptors[0] - descriptors[1:]).sum(axis=1)
    true = [lpips(train[0].image, image.image) for image in train[1:]]
    np.testing.assert_allclose(estimated, true, rtol=0.35)
    before = (tmp_path / REAL_DESCRIPTORS).stat().st_mtime_ns
    write_real_descriptors(inputs, tmp_path)
    assert (tmp_path / REAL_DESCRIPTORS).stat().st_mtime_ns == before


def test_descriptors_of_other_inputs_are_not_taken(tmp_path: Path) -> None:
    inputs = make_inputs(64, ("mono",), cleans=1)
    write_real_descriptors(inputs, tmp_path)
    other: Inputs = dataclasses.replace(inputs, sha256="1" * 64)
    assert read_real_descriptors(tmp_path, other.sha256) is None
    write_real_descriptors(other, tmp_path)
    assert read_real_descriptors(tmp_path, other.sha256) is not None
