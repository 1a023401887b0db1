"""`defectory diff`: two real releases whose difference is known, as folders and as tags in a real dvc repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.terminal import EXIT_FAILED, EXIT_OK
from flows.versions.repository import git
from flows.versions.version_files import VersionFiles, open_version, read_released, read_released_pictures
from tasks.files.pictures import decode_image
from tasks.release.diff import Diff, Pair, changed_keys, compare_releases, draw_pairs
from tests.two_versions import make_releases

ADDED = ("mono-000001", "mono-000004", "mono-000005", "poly-000004", "poly-000005")
REMOVED = ("mono-000002", "poly-000003")
CHANGED = ("poly-000000",)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_releases(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def found(folders: tuple[Path, Path]) -> Diff:
    old, new = (read_released(open_version(str(folder), ".")) for folder in folders)
    return compare_releases(old, new)


def run_diff(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["diff", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_every_sample_is_added_removed_changed_or_the_same(found: Diff) -> None:
    assert (found.added, found.removed, found.changed) == (ADDED, REMOVED, CHANGED)
    assert found.same == 4  # mono-000000, mono-000003, poly-000001, poly-000002


def test_the_way_back_is_the_mirror_image(folders: tuple[Path, Path], found: Diff) -> None:
    old, new = (read_released(open_version(str(folder), ".")) for folder in folders)
    back = compare_releases(new, old)
    assert (back.added, back.removed, back.changed, back.same) == (REMOVED, ADDED, CHANGED, found.same)
    pd.testing.assert_frame_equal(
        back.counts.rename(columns={"before": "after", "after": "before"}), found.counts, check_like=True
    )


def test_a_version_does_not_differ_from_itself(folders: tuple[Path, Path]) -> None:
    released = read_released(open_version(str(folders[1]), "."))
    same = compare_releases(released, released)
    assert (same.added, same.removed, same.changed, same.same) == ((), (), (), 10)
    assert same.metrics.empty
    for table in (same.counts, same.scores, same.fates):
        assert (table["before"].fillna(-1) == table["after"].fillna(-1)).all()


def test_counts_and_fates_are_those_of_the_releases(found: Diff) -> None:
    counts = {(row.what, row.value): (row.before, row.after) for row in found.counts.itertuples()}
    assert counts["category", "mono"] == (3, 5)
    assert counts["category", "poly"] == (4, 5)
    assert counts["license", "CC-BY-NC-SA-4.0"] == (7, 10)
    assert sum(after for (what, _), (_, after) in counts.items() if what == "defect_type") == 10
    fates = {row.fate: (row.before, row.after) for row in found.fates.itertuples()}
    assert fates == {
        "accepted": (7, 10),
        "failed": (0, 1),
        "rejected by min_change_inside": (1, 1),
        "skipped": (1, 1),
    }
    metrics = {row.name: (row.before, row.after) for row in found.metrics.itertuples(index=False)}
    assert metrics["planned"] == (8, 12)
    assert "dataset" not in metrics


def test_scores_are_medians_and_quantiles_of_the_manifests(folders: tuple[Path, Path], found: Diff) -> None:
    scores = found.scores.set_index(["score", "quantile"])
    for folder, column in zip(folders, ("before", "after"), strict=True):
        values = pd.read_parquet(folder / "manifest.parquet")["lpips_to_clean"].to_numpy()
        for quantile in (0.1, 0.5, 0.9):
            expected = np.quantile(values, quantile)
            assert scores.loc[("lpips_to_clean", quantile), column] == pytest.approx(expected)


def test_keys_that_differ_are_named_by_their_full_path() -> None:
    before = {"code": 2, "select": {"a": 1, "b": [1, 2]}, "gone": "x"}
    after = {"code": 3, "select": {"a": 1, "b": [1, 3]}, "masks": {"new": True}}
    table = changed_keys(before, after)
    assert table.to_numpy().tolist() == [
        ["code", 2, 3],
        ["gone", "x", None],
        ["masks.new", None, True],
        ["select.b", [1, 2], [1, 3]],
    ]


def test_a_sheet_shows_both_pictures_of_a_pair_in_their_places() -> None:
    red, blue = (np.full((32, 32, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    sheet = np.asarray(draw_pairs("title", ("before", "after"), [Pair("a", "b", red, blue)] * 4))
    reds, blues = ((sheet == colour).all(axis=2) for colour in ((255, 0, 0), (0, 0, 255)))
    assert reds.sum() == blues.sum() == 4 * 160 * 160
    first_red, first_blue = (np.flatnonzero(shown.any(axis=0))[0] for shown in (reds, blues))
    assert first_red < first_blue


def test_tags_are_compared_with_their_params_and_sheets_show_the_very_samples(
    two_versions: Path, tmp_path: Path
) -> None:
    status, said = run_diff("cells-v1", "cells-v2", "--repo", str(two_versions), "--out", str(tmp_path))
    assert status == EXIT_OK, said
    assert "5 added: mono-000001, mono-000004, " in said
    assert "2 removed: mono-000002, poly-000003" in said
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines()]
    assert ["", "dataset.samples_per_category", "4", "6", ""] in rows
    assert ["", "select.min_change_inside", "6.0", "5.0", ""] in rows
    listed = pd.read_csv(tmp_path / "samples.csv").groupby("change")["sample_id"].apply(tuple).to_dict()
    assert listed == {"added": ADDED, "removed": REMOVED, "changed": CHANGED}
    for name, pairs in (("added", 5), ("removed", 2), ("changed", 1)):
        assert f"{name}.png" in said
        with PIL.Image.open(tmp_path / f"{name}.png") as sheet:
            assert sheet.height > 160 * -(-pairs // 3)


def test_only_what_is_needed_is_read(two_versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, opened = open_version("cells-v1", str(two_versions)), []
    spied = VersionFiles(version.name, lambda path: opened.append(path) or version.open(path), version.settings)  # type: ignore[func-returns-value]
    manifest = read_released(spied).manifest
    chosen = manifest[manifest["sample_id"] == "poly-000003"]
    [(image, mask)] = read_released_pictures(spied, chosen).values()
    assert sorted(opened) == ["images/poly/00001.parquet", "ledger.parquet", "manifest.parquet", "metrics.json"]
    stored = pd.read_parquet(two_versions.parent / "v1" / "images" / "poly" / "00001.parquet").set_index("sample_id")
    np.testing.assert_array_equal(image, decode_image(stored.loc["poly-000003", "image"]["bytes"]))
    assert mask.any()


def test_a_clone_without_the_data_reads_them_from_the_store(two_versions: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(two_versions), clone.name)
    status, said = run_diff("cells-v1", "cells-v2", "--repo", str(clone))
    assert (status, "1 changed: poly-000000" in said) == (EXIT_OK, True), said
    assert not list((clone / ".dvc").glob("cache/files/md5/*/*.parquet"))


def test_what_is_neither_a_tag_nor_a_release_is_named(two_versions: Path, tmp_path: Path) -> None:
    status, said = run_diff("cells-v1", "cells-v9", "--repo", str(two_versions))
    assert status == EXIT_FAILED
    assert "no version is tagged 'cells-v9'; tags here: cells-v1, cells-v2" in said
    status, said = run_diff(str(tmp_path), "cells-v1", "--repo", str(two_versions))
    assert status == EXIT_FAILED
    assert "no release in this folder" in said


def test_an_unknown_tag_of_an_address_is_one_line(two_versions: Path) -> None:
    status, said = run_diff("cells-v9", "cells-v2", "--repo", two_versions.as_uri())
    assert status == EXIT_FAILED
    assert "the version 'cells-v9' cannot be read: unknown Git revision" in said


def test_a_folder_and_a_tag_can_be_compared_but_not_their_params(two_versions: Path) -> None:
    status, said = run_diff(str(two_versions), "cells-v2", "--repo", str(two_versions))
    assert status == EXIT_OK, said
    assert "10 the same, byte for byte" in said
    assert "give two tags to compare them" in said
