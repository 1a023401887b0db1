"""What the benchmark of worth keeps on disk is what it was given, and nothing stale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.worth.__main__ import OWN, PUBLISHED, as_published
from benchmarks.worth.kept import read_examples, write_examples
from tasks.params import Params
from tasks.params.registry import SYSTEMS
from tests.detectors.pictures import defective


def test_kept_examples_are_the_same_pixels_and_labels(tmp_path: Path) -> None:
    made = {"part": tuple(defective(number, origin="painter") for number in range(3)), "other": (defective(9),)}
    write_examples(tmp_path / "painter.parquet", "key", made)
    kept = read_examples(tmp_path / "painter.parquet", "key")
    assert kept is not None
    assert sorted(kept) == ["other", "part"]
    for before, after in zip(made["part"], kept["part"], strict=True):
        assert np.array_equal(before.image, after.image)
        assert np.array_equal(before.mask, after.mask)  # type: ignore[arg-type]
        names = ("example_id", "defect_type", "origin")
        assert [getattr(before, name) for name in names] == [getattr(after, name) for name in names]


def test_examples_of_other_models_are_not_used(tmp_path: Path) -> None:
    write_examples(tmp_path / "painter.parquet", "key", {"part": (defective(1),)})
    assert read_examples(tmp_path / "painter.parquet", "other key") is None
    assert read_examples(tmp_path / "nobody.parquet", "key") is None


def test_published_systems_are_judged_without_our_patches_and_our_own_with_them() -> None:
    params = Params.model_validate({"dataset": {"name": "d"}, "inputs": {"sources": [{"kind": "elpv"}]}})
    assert params.adapt.real_patches
    changed = {system for system in SYSTEMS if as_published(params, system) != params}
    assert changed == {"sdas", "adabldm", "anomalydiffusion", "anomalyany"}  # what else paints pixels has no patches
    assert set(OWN) | set(PUBLISHED) < set(SYSTEMS)
    for system in changed:
        judged = as_published(params, system)
        assert not judged.adapt.real_patches
        assert judged.adapt.model_copy(update={"real_patches": True}) == params.adapt
