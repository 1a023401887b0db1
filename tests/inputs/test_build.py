"""The station as a whole: what goes in comes out once, bad files cost nobody else anything, bytes repeat."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import read_inputs
from tasks.params import SourceParams
from tests.inputs.helpers import mask_of, mvtec_source, mvtec_tree, params_of, photograph, save


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_what_is_built_is_what_is_read(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    report = build_inputs(params_of(mvtec_source(root)), tmp_path, tmp_path / "out")
    inputs = read_inputs(tmp_path / "out")
    assert inputs.categories == ("disc",)
    assert inputs.defect_types("disc") == ("hole",)
    assert inputs.sha256 == report.sha256
    assert report.counts["disc"][CLEAN] == {"images": 8, "groups": 8, "masks": 0, "train": 6, "test": 2}
    assert report.counts["disc"]["hole"] == {"images": 4, "groups": 4, "masks": 4, "train": 2, "test": 2}
    assert len(inputs.clean("disc", TRAIN)) == 6
    assert len(inputs.defects("disc", TEST)) == len(inputs.defects("disc", TEST, "hole")) == 2
    hole = inputs.by_id("disc/hole/000")
    assert (hole.image == photograph(200)).all()
    assert hole.mask is not None
    assert (hole.mask == (mask_of() > 0)).all()
    assert hole.foreground[hole.mask].all()
    assert (hole.path, hole.source, hole.license) == ("test/hole/000.png", "mvtec:disc", "CC0-1.0")
    assert hole.sha256 == hashlib.sha256((root / hole.path).read_bytes()).hexdigest()
    clean = inputs.clean("disc", TRAIN)[0]
    assert clean.mask is None
    assert 0.3 < clean.foreground.mean() < 0.5
    assert (clean.image.dtype, clean.foreground.dtype) == (np.uint8, np.bool_)
    with pytest.raises(DefectoryError, match="no input image 'disc/hole/999'"):
        inputs.by_id("disc/hole/999")


def test_the_same_sources_give_the_same_bytes_anywhere(tmp_path: Path) -> None:
    for place in ("here", "elsewhere"):
        root = mvtec_tree(tmp_path / place / "disc")
        build_inputs(params_of(mvtec_source(root)), Path(), tmp_path / place / "out")
    assert hashes(tmp_path / "here/out") == hashes(tmp_path / "elsewhere/out")
    assert str(tmp_path) not in (tmp_path / "here/out/report.json").read_text()


def test_every_change_of_an_input_changes_the_hash(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    params = params_of(mvtec_source(root))
    seen = {build_inputs(params, Path(), tmp_path / "out").sha256}
    save(mask_of()[::-1], root / "ground_truth/hole/001_mask.png")
    seen.add(build_inputs(params, Path(), tmp_path / "out").sha256)
    save(photograph(999), root / "train/good/001.png")
    seen.add(build_inputs(params, Path(), tmp_path / "out").sha256)
    seen.add(build_inputs(params_of(mvtec_source(root), size=32), Path(), tmp_path / "out").sha256)
    seen.add(build_inputs(params_of(mvtec_source(root), seed=8), Path(), tmp_path / "out").sha256)
    assert len(seen) == 5


def spoil(root: Path) -> dict[str, str]:
    """Bad files of every kind beside the good ones; a word of the reason for each."""
    whole = (root / "train/good/000.png").read_bytes()
    (root / "train/good/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train/good/empty.png").write_bytes(b"")
    (root / "train/good/notes.txt").write_text("not an image")
    save(photograph(1, size=256), root / "train/good/huge.png")
    save(photograph(301), root / "test/hole/other_size.png")
    save(mask_of(size=80), root / "ground_truth/hole/other_size_mask.png")
    save(photograph(302), root / "test/hole/no_defect.png")
    save(mask_of(value=0), root / "ground_truth/hole/no_defect_mask.png")
    save(photograph(303), root / "test/hole/bad_mask.png")
    (root / "ground_truth/hole/bad_mask_mask.png").write_bytes(b"")
    return {
        "train/good/cut.png": "damaged",
        "train/good/empty.png": "0 bytes",
        "train/good/notes.txt": "not an image",
        "train/good/huge.png": "inputs.max_pixels (10000)",
        "test/hole/other_size.png": "its mask is 80 x 80",
        "test/hole/no_defect.png": "its mask is empty",
        "test/hole/bad_mask.png": "its mask: the file is empty",
    }


def test_bad_files_are_listed_and_cost_the_others_nothing(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc")
    params = params_of(mvtec_source(root), max_pixels=10_000)
    build_inputs(params, Path(), tmp_path / "before")
    reasons = spoil(root)
    build_inputs(params, Path(), tmp_path / "after")
    before, after = read_inputs(tmp_path / "before"), read_inputs(tmp_path / "after")
    assert {skip.path for skip in after.skipped} == set(reasons)
    assert all(reasons[skip.path] in skip.reason and skip.source == "mvtec:disc" for skip in after.skipped)
    assert [image.image_id for image in after.images] == [image.image_id for image in before.images]
    assert after.sha256 == before.sha256


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_source_without_a_usable_clean_image_is_fatal_in_one_line(tmp_path: Path, content: bytes) -> None:
    root = mvtec_tree(tmp_path / "disc", clean=1, held_out=0)
    (root / "train/good/000.png").write_bytes(content)
    good = mvtec_source(mvtec_tree(tmp_path / "plate"), "plate")
    with pytest.raises(DefectoryError, match=r"mvtec:disc: none of its 1 clean images .* train/good/000.png") as caught:
        build_inputs(params_of(good, mvtec_source(root)), Path(), tmp_path / "out")
    assert "\n" not in str(caught.value)
    (root / "train/good/000.png").unlink()
    with pytest.raises(DefectoryError, match="mvtec:disc has no clean image"):
        build_inputs(params_of(good, mvtec_source(root)), Path(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_build_leaves_the_last_one_as_it_was(tmp_path: Path) -> None:
    root = mvtec_tree(tmp_path / "disc", clean=1, held_out=0)
    build_inputs(params_of(mvtec_source(root)), Path(), tmp_path / "out")
    before = hashes(tmp_path / "out")
    (root / "train/good/000.png").write_bytes(b"")
    with pytest.raises(DefectoryError, match="none of its 1 clean"):
        build_inputs(params_of(mvtec_source(root)), Path(), tmp_path / "out")
    assert hashes(tmp_path / "out") == before


def test_an_id_that_two_sources_claim_goes_to_the_first(tmp_path: Path) -> None:
    first, second = (mvtec_tree(tmp_path / name, clean=3, held_out=0, defects=1) for name in ("old", "new"))
    save(photograph(50), second / "train/good/050.png")
    build_inputs(params_of(mvtec_source(first), mvtec_source(second)), Path(), tmp_path / "out")
    inputs = read_inputs(tmp_path / "out")
    assert {image.image_id for image in inputs.images if image.source == "mvtec:new"} == {"disc/clean/050"}
    assert [skip.path for skip in inputs.skipped] == [
        "train/good/000.png",
        "train/good/001.png",
        "train/good/002.png",
        "test/hole/000.png",
    ]


def test_a_category_that_is_gone_leaves_no_file(tmp_path: Path) -> None:
    disc, plate = (mvtec_source(mvtec_tree(tmp_path / name), name) for name in ("disc", "plate"))
    build_inputs(params_of(disc, plate), Path(), tmp_path / "out")
    build_inputs(params_of(disc), Path(), tmp_path / "out")
    assert sorted(hashes(tmp_path / "out")) == ["disc.parquet", "report.json", "splits.json"]


def test_progress_rises_to_its_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    root = mvtec_tree(tmp_path / "disc")
    (root / "train/good/000.png").write_bytes(b"")
    build_inputs(params_of(mvtec_source(root)), Path(), tmp_path / "out", lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1] == (24, 24)


def test_inputs_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DefectoryError, match=r"splits.json: missing.*run inputs first"):
        read_inputs(out)
    build_inputs(params_of(mvtec_source(mvtec_tree(tmp_path / "disc"))), Path(), out)
    manifest = json.loads((out / "splits.json").read_text())
    manifest["images"]["disc/hole/000"]["split"] = (
        TRAIN if manifest["images"]["disc/hole/000"]["split"] == TEST else TEST
    )
    (out / "splits.json").write_text(json.dumps(manifest))
    with pytest.raises(DefectoryError, match="do not belong together"):
        read_inputs(out)
    (out / "disc.parquet").write_bytes(b"PAR1")
    with pytest.raises(DefectoryError, match=r"disc.parquet: damaged"):
        read_inputs(out)


def test_real_cells_of_two_categories(tmp_path: Path) -> None:
    source = SourceParams(kind="elpv", license="CC-BY-NC-SA-4.0", limit=8)
    build_inputs(params_of(source, size=128), Path(), tmp_path / "out")
    inputs = read_inputs(tmp_path / "out")
    assert inputs.categories == ("mono", "poly")
    assert {image.license for image in inputs.images} == {"CC-BY-NC-SA-4.0"}
    assert all(image.mask is None for image in inputs.images)
    for image in inputs.images:
        if image.defect_type == CLEAN:
            assert image.foreground[12:-12, 12:-12].all(), f"a busbar of {image.image_id} is outside"
