"""Names and paths from outside: none of them leads a reader or a writer out of its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.publish import preflight
from flows.versions.pull import pull
from flows.versions.repository import git
from flows.versions.version_files import open_version, read_released_pictures
from tasks.contracts import DefectoryError, check_below, check_name
from tasks.evaluation.examples import released
from tasks.files.pictures import encode_image
from tasks.inputs.dataset import pack_image, read_inputs, write_category, write_splits
from tasks.params import load_params
from tasks.release.manifest import MANIFEST_SCHEMA
from tasks.release.remake import read_row
from tasks.versions.locked import LockedOutput
from tasks.versions.pulled import ReleaseDataset
from tasks.versions.remote import files_of
from tests.factories import make_inputs
from tests.tiny_release import write_release

BAD_NAMES = ["..", ".", "", "../x", "a/b", "/etc", "a\\b", "-rf", ".git", "a..b", "a\nb", "a\0b", "x" * 65, "é", "a b"]
BAD_PATHS = ["../../etc/passwd", "/etc/passwd", "images/../../x", "", ".", "..", "images\\..\\x", "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_plain_folder_name_is_refused(name: str) -> None:
    with pytest.raises(DefectoryError, match="cannot be used as a folder name"):
        check_name(name, "category")


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(DefectoryError, match="leads out of its folder"):
        check_below(path, "manifest.parquet")
    assert check_below("images/cell/00000.parquet", "manifest.parquet") == "images/cell/00000.parquet"


@pytest.mark.parametrize("key", ["dataset", "category", "defect type"])
@pytest.mark.parametrize("name", ["../x", "/etc", "a\nb"])
def test_params_cannot_name_a_folder_elsewhere(tmp_path: Path, key: str, name: str) -> None:
    names = {"dataset": "d", "category": "c", "defect type": "t"} | {key: name}
    source = {"kind": "folder", "root": ".", "category": names["category"], "defects": {names["defect type"]: ["*"]}}
    params = {"dataset": {"name": names["dataset"]}, "inputs": {"sources": [source]}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    with pytest.raises(DefectoryError, match="cannot be used as a folder name"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("field", ["category", "defect_type"])
def test_pulled_inputs_cannot_name_a_folder_elsewhere(tmp_path: Path, field: str) -> None:
    image = make_inputs(32, ("mono",), cleans=1).images[0]
    packed = pack_image(replace(image, **{field: "../../x"}), encode_image(image.image))
    write_splits(tmp_path, write_category(tmp_path, "mono", [packed]))
    with pytest.raises(DefectoryError, match=f"{field} '../../x' cannot be used"):
        read_inputs(tmp_path)


@pytest.mark.parametrize("shard", ["../../etc/passwd", "/etc/passwd", "images/../../outside.parquet"])
def test_a_manifest_cannot_name_a_shard_elsewhere(tmp_path: Path, shard: str) -> None:
    folder = tmp_path / "release"
    write_release(folder, 3)
    (tmp_path / "outside.parquet").write_bytes((folder / "images/cell/00000.parquet").read_bytes())
    manifest = pq.read_table(folder / "manifest.parquet")
    place = manifest.column_names.index("shard")
    planted = manifest.set_column(place, "shard", pa.array([shard] * 3))
    pq.write_table(planted, folder / "manifest.parquet")
    readers: tuple[Callable[[], object], ...] = (
        lambda: ReleaseDataset(folder),
        lambda: released(folder, "cell", 32, 3),
        lambda: read_released_pictures(open_version(str(folder), "."), planted.to_pandas()),
    )
    for read in readers:
        with pytest.raises(DefectoryError, match=r"manifest\.parquet: the path .* leads out of its folder"):
            read()


class _Listing:
    """A store whose listing of a version somebody else has written."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, key: str) -> bytes:
        return json.dumps([{"relpath": self.path, "md5": "a" * 32}]).encode()


@pytest.mark.parametrize("path", ["../../../x", "images/mono/../../../../../x", "/etc/cron.d/x"])
def test_a_pull_writes_nothing_outside_of_its_folder(path: str) -> None:
    output = LockedOutput("data/release", "b" * 32 + ".dir", 1, 1)
    with pytest.raises(DefectoryError, match=r"the listing of data/release: .* leads out of its folder"):
        list(files_of(_Listing(path), output))  # type: ignore[arg-type]


@pytest.mark.parametrize("sample_id", ["../../x", "/etc/passwd", "mono-000000/../../x"])
def test_a_sample_is_looked_up_and_never_opened_by_its_name(tmp_path: Path, sample_id: str) -> None:
    pq.write_table(MANIFEST_SCHEMA.empty_table(), tmp_path / "manifest.parquet")
    with pytest.raises(DefectoryError, match="no released sample is called"):
        read_row(tmp_path, sample_id)


@pytest.mark.parametrize("tag", ["-d", "--delete", "--upload-pack=touch x", "a b", "a..b", "x.lock", "/x", "a:b"])
def test_a_tag_is_neither_an_option_nor_a_path(tmp_path: Path, tag: str) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("dataset: {name: d}\ninputs: {sources: [{kind: elpv}]}\n")
    with pytest.raises(DefectoryError, match=r"cannot name a version|git check-ref-format failed"):
        preflight(tmp_path, tag)


@pytest.mark.parametrize("repo", ["ext::sh -c 'touch ran'", "--upload-pack=touch ran", "file:///nowhere"])
def test_a_repository_address_runs_no_command(tmp_path: Path, repo: str) -> None:
    with pytest.raises(DefectoryError, match="git clone failed"):
        pull("v1", repo, tmp_path / "pulled")
    assert list(tmp_path.rglob("ran")) == []
