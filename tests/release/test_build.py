import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.candidates.files import shard_files
from tasks.candidates.read import read_scores
from tasks.contracts import DefectoryError
from tasks.files import folders
from tasks.files.pictures import encode_mask
from tasks.files.tables import encode_table
from tasks.params import ScoreParams
from tasks.release.build import build_release
from tasks.release.checksums import CHECKSUMS, check_files
from tasks.release.judge import judge_candidates, judge_scores
from tasks.release.manifest import MANIFEST_SCHEMA
from tasks.versions.pulled import ReleaseDataset
from tests.factories import LICENSE, SOURCE, Workspace, make_params, make_workspace

COMMAND = "defectory run --params params.yaml"
FAILED = frozenset({"mono-000003"})
FAINT = frozenset({"mono-000005", "poly-000001"})
COLUMNS = """
    sample_id category defect_type method split width height image_file_name mask_file_name shard row image_sha256
    mask_sha256 seed clean_id clean_sha256 reference_id mask_source intended_area effective_area strength prompt
    model_sha256 params_fingerprint lpips_to_clean nearest_lpips outside_max_abs class_confidence class_entropy
    seconds license source nearest_real_lpips nearest_real_id dataset index line_fingerprint
""".split()  # noqa: SIM905


def release(workspace: Workspace, out: Path | None = None, **select: float) -> Path:
    """Builds it under other thresholds than the workspace's own, where some are given."""
    params = workspace.params.model_copy(update={"select": workspace.params.select.model_copy(update=select)})
    folder = out or workspace.release
    build_release(params, workspace.inputs, workspace.plans, workspace.candidates, folder, COMMAND)
    return folder


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    params = make_params(max_failed_share=0.1)
    made = make_workspace(tmp_path_factory.mktemp("work"), params, failed=FAILED, faint=FAINT)
    report = made.root / "inputs" / "report.json"
    report.parent.mkdir()
    report.write_text(json.dumps({"warnings": ["mono: told apart by <brightness> alone"]}))
    release(made)
    return made


def test_judging_a_category_at_a_time_is_judging_all(workspace: Workspace) -> None:
    whole = judge_scores(read_scores(workspace.candidates, workspace.plans), workspace.params, None)
    parts = judge_candidates(workspace.candidates, workspace.plans[::-1], workspace.params, None)
    assert list(parts.columns) == [name for name in whole.columns if name != "descriptor"]
    for name in parts.columns:
        pairs = zip(parts[name], whole[name], strict=True)
        assert all(one == other or (pd.isna(one) and pd.isna(other)) for one, other in pairs), name


def test_every_file_of_a_release_has_its_checksum(workspace: Workspace) -> None:
    assert check_files(workspace.release).whole == files_below(workspace.release).keys() - {CHECKSUMS}


def test_the_manifest_has_the_promised_columns_and_the_accepted_samples(workspace: Workspace) -> None:
    table = pq.ParquetFile(workspace.release / "manifest.parquet").read()
    assert table.schema.names == COLUMNS
    assert table.schema.equals(MANIFEST_SCHEMA)
    assert table.schema.metadata is None
    planned = [spec.sample_id for plan in workspace.plans for spec in plan.specs]
    assert table["sample_id"].to_pylist() == [name for name in planned if name not in FAILED | FAINT]
    assert set(table["license"].to_pylist()) == {LICENSE}
    assert set(table["source"].to_pylist()) == {SOURCE}
    assert table["seconds"].null_count == len(table)
    assert table["nearest_lpips"].null_count == 2, "only the first accepted sample of a category has none before it"


def test_the_ledger_has_every_planned_sample_once_with_its_fate(workspace: Workspace) -> None:
    ledger = pd.read_parquet(workspace.release / "ledger.parquet").set_index("sample_id")
    planned = {spec.sample_id for plan in workspace.plans for spec in plan.specs}
    assert sorted(ledger.index.dropna()) == sorted(planned)
    assert ledger.loc["mono-000003", "status"] == "failed"
    assert ledger.loc["mono-000003", "error"] == "masks: no place for a mask <50 tries>"
    assert set(ledger.index[ledger["status"] == "rejected"]) == FAINT
    assert ledger.loc["poly-000001", "rule"] == "min_change_inside"
    assert 0 < ledger.loc["poly-000001", "value"] < workspace.params.select.min_change_inside
    (skipped,) = ledger[ledger["status"] == "skipped"]["error"]
    assert skipped == "elpv-dataset: images/broken.png: truncated after 12 bytes"


def test_plain_datasets_shows_pictures_and_pandas_joins_them(workspace: Workspace, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    samples = datasets.load_dataset(
        "parquet", data_files=str(workspace.release / "images/*/*.parquet"), split="train", cache_dir=str(tmp_path)
    )
    manifest = pd.read_parquet(workspace.release / "manifest.parquet")
    assert samples["sample_id"][:] == list(manifest["sample_id"])
    first = samples[0]
    assert isinstance(first["image"], PIL.Image.Image)
    assert first["image"].size == first["mask"].size == first["intended_mask"].size == (96, 96)
    assert first["image"].mode == "RGB"
    share = np.asarray(first["mask"].convert("1")).mean()
    assert share == pytest.approx(manifest["effective_area"][0])
    assert np.asarray(first["intended_mask"]).mean() == pytest.approx(manifest["intended_area"][0])


def test_a_row_lies_where_the_manifest_says(workspace: Workspace) -> None:
    for row in pd.read_parquet(workspace.release / "manifest.parquet").to_dict("records"):
        packed = pq.ParquetFile(workspace.release / row["shard"]).read().to_pylist()[row["row"]]
        assert packed["sample_id"] == row["sample_id"]
        assert packed["image"]["path"] == row["image_file_name"]
        assert packed["mask"]["path"] == row["mask_file_name"]


def test_the_same_candidates_give_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    assert files_below(release(workspace, tmp_path / "again")) == files_below(workspace.release)


def test_metrics_count_by_category_and_name_the_network_of_their_score(workspace: Workspace) -> None:
    metrics = json.loads((workspace.release / "metrics.json").read_text())
    assert (metrics["planned"], metrics["accepted"], metrics["rejected"], metrics["failed"]) == (16, 13, 2, 1)
    mono = metrics["categories"]["mono"]
    assert (mono["accepted"], mono["rejected_by"], mono["failed"]) == (6, {"min_change_inside": 1}, 1)
    assert mono["is_efficientnet_lite0"] > 1
    manifest = pd.read_parquet(workspace.release / "manifest.parquet")
    of_mono = manifest.loc[manifest["category"] == "mono", "lpips_to_clean"]
    assert mono["lpips_to_clean_median"] == pytest.approx(of_mono.median(), abs=1e-4)
    assert "second" not in json.dumps(metrics)


def test_without_a_classifier_a_release_says_so_and_has_all_else(workspace: Workspace, tmp_path: Path) -> None:
    params = workspace.params.model_copy(update={"score": ScoreParams(classifier="none")})
    folder = release(replace(workspace, params=params), tmp_path / "unclassified")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["categories"]["mono"]["is_none"] is None
    assert metrics["accepted"] == json.loads((workspace.release / "metrics.json").read_text())["accepted"]
    for page in ("README.md", "report.html"):
        text = (folder / page).read_text()
        assert "score.classifier" in text
        assert "by the network" not in text


def test_other_thresholds_choose_among_the_same_samples_and_move_none_to_another_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = release(workspace, tmp_path / "strict", min_change_inside=60.0, min_accepted_share=0.1)
    few, all_of_them = (pd.read_parquet(path / "manifest.parquet") for path in (folder, workspace.release))
    assert 0 < len(few) < len(all_of_them)
    columns = ["sample_id", "shard", "image_sha256"]
    assert len(few.merge(all_of_them, on=columns)) == len(few)


def test_the_reader_of_versions_finds_every_sample_whole(workspace: Workspace) -> None:
    samples = ReleaseDataset(workspace.release)
    assert len(samples) == 13
    assert list(samples.damaged()) == []
    assert samples[0]["mask"].any()


def test_a_shard_of_which_nothing_was_accepted_is_left_out_and_the_others_keep_their_numbers(
    workspace: Workspace, tmp_path: Path
) -> None:
    lost = frozenset(spec.sample_id for spec in workspace.plans[0].specs)
    folder = release(make_workspace(tmp_path, workspace.params, faint=lost))
    packed = {name for name in files_below(folder) if name.startswith("images/")}
    assert packed == {f"images/{name}.parquet" for name in ("mono/00001", "poly/00000", "poly/00001")}
    assert len(pd.read_parquet(folder / "manifest.parquet")) == 12


def test_a_refused_release_leaves_the_one_before_and_shows_why(workspace: Workspace) -> None:
    before = files_below(workspace.release)
    with pytest.raises(DefectoryError, match=r"0 of 16 planned samples were accepted \(0\.0%\).*min_accepted_share"):
        release(workspace, min_change_inside=255.0)
    assert files_below(workspace.release) == before
    refused = folders.refused_name(workspace.release)
    assert "15 rejected" in (refused / "report.html").read_text()
    release(workspace)
    assert not refused.exists()


def test_too_many_failures_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"1 of 16 planned samples failed \(6\.2%\).*max_failed_share"):
        release(workspace, tmp_path / "out", max_failed_share=0.05)


def test_unfinished_shards_are_named_before_anything_is_touched(tmp_path: Path) -> None:
    made = make_workspace(tmp_path, make_params(64, samples=2, shard_size=1))
    release(made)
    before = files_below(made.release)
    shard_files(made.candidates, made.plans[1]).marker.unlink()
    with pytest.raises(DefectoryError, match=r"1 of 4 shards are not finished \(mono/00001\); run `defectory resume`"):
        release(made)
    assert files_below(made.release) == before


def test_a_crash_while_building_leaves_the_release_before(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_below(workspace.release)

    def crash(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.release.build.build_card", crash)
        with pytest.raises(KeyboardInterrupt):
            release(workspace)
    assert files_below(workspace.release) == before
    assert files_below(release(workspace)) == before


def test_the_card_says_what_a_user_must_know(workspace: Workspace) -> None:
    card = (workspace.release / "README.md").read_text()
    assert card.startswith("---\npretty_name: cells\nlicense:\n- cc-by-nc-sa-4.0\n")
    for words in (
        COMMAND,
        "non-commercial",
        "is_efficientnet_lite0",
        "not comparable",
        "<brightness>",
        "sheets/poly.png",
    ):
        assert words in card
    assert "pseudo-masks" not in card


def test_the_report_is_one_page_with_nothing_to_load_and_escapes_what_others_wrote(workspace: Workspace) -> None:
    page = (workspace.release / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == page.count("<img ") == 2 + page.count("<figure>")
    assert "http" not in page
    for words in (
        "no place for a mask &lt;50 tries&gt;",
        "&lt;brightness&gt;",
        "truncated after 12 bytes",
        "threshold 6",
    ):
        assert words in page
    assert page.count("<svg ") == 8
    assert str(workspace.root) not in page


def test_pseudo_masks_are_shown_where_there_are_any(workspace: Workspace, tmp_path: Path) -> None:
    made = make_workspace(tmp_path, make_params(64, samples=2))
    models = made.root / "models"
    models.mkdir()
    png = encode_mask(np.eye(16, dtype=bool))
    names = [f"mono/crack/{number}" for number in range(12)]
    rows = [
        {"image_id": name, "category": "mono", "defect_type": "crack", "image": png, "anomaly": png, "mask": png}
        for name in names
    ]
    (models / "pseudo_masks.parquet").write_bytes(encode_table(pa.Table.from_pylist(rows)))
    page = (release(made) / "report.html").read_text()
    assert page.count("<figcaption>mono/crack/") == 8
    assert "pseudo-masks" in (made.release / "README.md").read_text()


def test_releasing_brings_no_torch_along_before_it_is_needed() -> None:
    code = (
        "import sys, tasks.release.build; sys.exit(any(name in sys.modules for name in ('torch', 'prefect', 'boto3')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
