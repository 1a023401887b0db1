"""The examples, on the real photographs that are too large for the repository."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tasks.contracts import CLEAN, TEST, TRAIN
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.params import load_params

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "../shared/data/mvtec").is_dir(), reason="the photographs in ../shared are not on this machine"
)


def built(name: str, out: Path, limit: int) -> Inputs:
    """The example, with at most `limit` images of each label, at a small size."""
    params = load_params(ROOT / f"examples/{name}.yaml")
    sources = [source.model_copy(update={"limit": limit}) for source in params.inputs.sources]
    small = params.model_copy(
        update={
            "inputs": params.inputs.model_copy(update={"sources": sources}),
            "dataset": params.dataset.model_copy(update={"image_size": 128}),
        }
    )
    build_inputs(small, ROOT / "examples", out)
    return read_inputs(out)


def test_bottle(tmp_path: Path) -> None:
    inputs = built("bottle", tmp_path / "out", limit=12)
    assert inputs.defect_types("bottle") == ("broken_large", "broken_small", "contamination")
    assert all(image.mask is not None for image in inputs.images if image.defect_type != CLEAN)
    assert all(image.split == TEST for image in inputs.images if image.path.startswith("test/good"))
    for image in inputs.images:
        assert 0.55 < image.foreground.mean() < 0.7
        assert image.foreground[48:80, 48:80].all(), "the bottle's dark middle belongs to it"


def test_cookies(tmp_path: Path) -> None:
    inputs = built("cookies", tmp_path / "out", limit=0)
    assert len(inputs.images) == 31 + 14 + 32
    assert all(image.split == TEST for image in inputs.images if image.path.startswith("heldout"))
    assert inputs.by_id("cookies/clean/normal-1").group == inputs.by_id("cookies/clean/normal-2").group
    for image in inputs.images:
        assert 0.2 < image.foreground.mean() < 0.5, f"{image.image_id}: a bright table is no cookie"
    cracked = [image for image in inputs.images if image.defect_type == "cracked"]
    assert all(image.mask is not None and 0 < image.mask.mean() < 0.2 for image in cracked)


def test_magnetic_tile_is_split_by_tile(tmp_path: Path) -> None:
    inputs = built("magnetic_tile", tmp_path / "out", limit=120)
    assert all(skip.path.startswith("uneven/") for skip in inputs.skipped)
    assert sum("its mask is empty" in skip.reason for skip in inputs.skipped) == 4
    cracks = [image for image in inputs.images if image.defect_type == "crack"]
    assert len(cracks) == 57
    assert len({image.group for image in cracks}) <= 11
    splits: dict[str, set[str]] = defaultdict(set)
    for image in inputs.images:
        splits[image.group].add(image.split)
    assert all(len(each) == 1 for each in splits.values())
    # One crack that came back under other numbers: its first and second set of exposures.
    again = ("exp1_num_86828", "exp5_num_86031")
    assert len({inputs.by_id(f"magnetic_tile/crack/{name}").group for name in again}) == 1
    trained = {image.group for image in inputs.defects("magnetic_tile", TRAIN)}
    assert not trained & {image.group for image in inputs.defects("magnetic_tile", TEST)}
