"""Listings: labels, masks, names, limits, and nothing from outside a root."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tasks.contracts import CLEAN, DefectoryError
from tasks.inputs.readers import list_source
from tasks.params import SourceParams
from tests.inputs.helpers import mvtec_source, mvtec_tree, photograph, save


def test_mvtec_layout(tmp_path: Path) -> None:
    listing = list_source(mvtec_source(mvtec_tree(tmp_path / "disc")), Path())
    assert Counter(image.defect_type for image in listing.images) == {CLEAN: 8, "hole": 4}
    assert [image.path for image in listing.images if image.held_out] == ["test/good/000.png", "test/good/001.png"]
    holes = [image for image in listing.images if image.defect_type == "hole"]
    assert [image.mask_file and image.mask_file.name for image in holes] == [f"{n:03d}_mask.png" for n in range(4)]
    assert holes[0].image_id == "disc/hole/000"
    assert len({image.image_id for image in listing.images}) == 12, "train and test have the same stems"
    assert not listing.skipped
    assert not listing.warnings


def test_a_folder_in_other_words_gives_the_same(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    folder = SourceParams(
        kind="folder",
        root=str(root),
        category="disc",
        license="CC0-1.0",
        clean=["train/good/*.png", "**/good/*.png"],
        clean_test=["test/good/*"],
        defects={"hole": ["test/hole/*"]},
        masks={"hole": "ground_truth/hole/{stem}_mask.png"},
    )
    assert list_source(folder, Path()).images == list_source(mvtec_source(root), Path()).images


def test_a_relative_root_starts_from_the_given_folder(tmp_path: Path) -> None:
    mvtec_tree(tmp_path / "disc")
    assert len(list_source(mvtec_source(Path("disc")), tmp_path).images) == 12


def test_what_leads_out_of_the_root_is_skipped_by_name(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    outside = save(photograph(1), tmp_path / "secret/one.png")
    (root / "train/good/link.png").symlink_to(outside)
    (root / "train/good/inside.png").symlink_to(root / "train/good/000.png")
    (root / "ground_truth/hole/003_mask.png").unlink()
    (root / "ground_truth/hole/003_mask.png").symlink_to(outside)
    listing = list_source(mvtec_source(root), Path())
    assert [skip.path for skip in listing.skipped] == ["test/hole/003.png", "train/good/link.png"]
    assert "outside" in listing.skipped[0].reason
    assert "train/good/inside.png" in {image.path for image in listing.images}

    upwards = SourceParams(kind="folder", root=str(root), category="disc", clean=["train/good/*", "../secret/*"])
    assert "../secret/one.png" in {skip.path for skip in list_source(upwards, Path()).skipped}


def test_a_missing_mask_is_named_and_leaves_the_label(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    (root / "ground_truth/hole/002_mask.png").unlink()
    listing = list_source(mvtec_source(root), Path())
    assert len(listing.images) == 12
    assert "disc/hole: 1 of 4 images have no mask file" in listing.warnings[0]
    assert "test/hole/002.png" in listing.warnings[0]


def test_patterns_that_name_nothing_are_named(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    source = SourceParams(kind="folder", root=str(root), category="disc", clean=["**/*.png"], defects={"rust": ["r/*"]})
    assert "disc/rust" in list_source(source, Path()).warnings[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": "nowhere"}, "no folder 'nowhere'"),
        ({"clean": ["/etc/*"]}, "bad pattern"),
        ({"group_rule": "("}, "not a regular expression"),
        ({"group_rule": r"(\d+)"}, "named group"),
        ({"group_rule": r"tile_(?P<number>\d+)"}, "matches none of 6 paths such as 'train/good/000.png'"),
        ({"group_rule": r"(?P<number>good)"}, "'good' in 'train/good/000.png' is not a whole number"),
    ],
)
def test_rules_that_cannot_be_followed_are_fatal_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    root = mvtec_tree(tmp_path / "disc")
    source = SourceParams(kind="folder", root=str(root), category="disc", clean=["train/good/*"])
    with pytest.raises(DefectoryError, match=re.escape(message)) as caught:
        list_source(source.model_copy(update=change), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_defect_folder_that_cannot_name_a_folder_is_refused(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    shutil.move(root / "test/hole", root / "test/big hole")
    with pytest.raises(DefectoryError, match="'big hole' cannot be used"):
        list_source(mvtec_source(root), Path())


@pytest.mark.parametrize("limit", [1, 3, 5, 100])
def test_a_limit_spreads_evenly_over_each_label(tmp_path: Path, limit: int) -> None:
    root = mvtec_tree(tmp_path / "disc", clean=20, held_out=0)
    listing = list_source(mvtec_source(root).model_copy(update={"limit": limit}), Path())
    counts = Counter(image.defect_type for image in listing.images)
    assert counts == {CLEAN: min(limit, 20), "hole": min(limit, 4)}
    numbers = [int(image.file.stem) for image in listing.images if image.defect_type == CLEAN]
    assert max(b - a for a, b in zip(numbers, [*numbers[1:], 20], strict=True)) <= -(-20 // limit)


def test_elpv_lists_cells_by_type_and_certainty() -> None:
    sure = list_source(SourceParams(kind="elpv"), Path()).images
    assert Counter(image.label for image in sure) == {
        ("mono", CLEAN): 588,
        ("mono", "defective"): 313,
        ("poly", CLEAN): 920,
        ("poly", "defective"): 402,
    }
    likely = list_source(SourceParams(kind="elpv", min_defect_probability=0.5), Path()).images
    assert sum(image.defect_type == "defective" for image in likely) == 715 + 106
    assert all(image.mask_file is None for image in sure)
    assert sure[0].file.is_file()
