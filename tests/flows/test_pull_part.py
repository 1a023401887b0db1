"""`defectory pull --category`: some categories of a version, from a real dvc repository and a real S3 store."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from flows.publish import verify_release
from flows.versions.pull import pull
from flows.versions.verbs import pull_here
from tasks.contracts import DefectoryError
from tasks.store.s3 import Store
from tasks.versions import open_release
from tasks.versions.locked import RELEASE, outputs_of
from tasks.versions.pulled import ReleaseDataset
from tasks.versions.remote import CONTENT, remote_of


def hashes_of(repo: Path, tag: str) -> dict[str, str]:
    """The MD5 of a version's files by their path in the release."""
    md5 = outputs_of(repo, tag)[RELEASE].md5
    listing = json.loads(remote_of(repo).read(f"{CONTENT}{md5[:2]}/{md5[2:]}"))
    return {entry["relpath"]: entry["md5"] for entry in listing}


def test_one_category_is_whole_and_nothing_of_the_others_is_transferred(
    two_versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, read = [], Store.read
    monkeypatch.setattr(Store, "read", lambda store, key: keys.append(key) or read(store, key))
    pull_here("cells-v2", str(two_versions), tmp_path / "pulled", None, ["mono"])
    folder = tmp_path / "pulled" / "data" / "release"
    assert f"cells-v2 is in {folder}, of mono only" in capsys.readouterr().out
    samples = ReleaseDataset(folder)
    assert (len(samples), samples.categories) == (5, ("mono",))
    assert list(samples.damaged()) == []
    verify_release(folder)
    brought = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    shards = {f"images/mono/{number:05d}.parquet" for number in range(3)}
    assert brought == {"README.md", "manifest.parquet", *shards}
    read_hashes = {key.removeprefix(CONTENT).replace("/", "") for key in keys}
    names = {name for name, md5 in hashes_of(two_versions, "cells-v2").items() if md5 in read_hashes}
    assert names == brought
    assert not list((tmp_path / "pulled" / ".dvc").glob("cache/files/*/*/*")), "dvc brought something, too"
    whole = pd.read_parquet(two_versions.parent / "v2" / "manifest.parquet")
    part = whole[whole["category"] == "mono"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "manifest.parquet"), part)
    with pytest.raises(DefectoryError, match="or not all of it: defectory pull cells-v2"):
        open_release("cells-v2", tmp_path / "pulled")


def test_more_categories_and_then_the_whole_can_follow_in_the_same_folder(two_versions: Path, tmp_path: Path) -> None:
    pulled = tmp_path / "pulled"
    for names in (["mono"], ["mono"], ["poly", "mono"]):  # and once again in between, which brings nothing
        samples = ReleaseDataset(pull("cells-v1", two_versions, pulled, categories=names))
        assert samples.categories == tuple(sorted(names))
    pull("cells-v1", two_versions, pulled)
    assert len(open_release("cells-v1", pulled)) == 7


def test_an_unknown_category_names_the_valid_ones(two_versions: Path, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match="'cells-v1' holds no category brass, zinc; it holds: mono, poly"):
        pull("cells-v1", two_versions, tmp_path / "pulled", categories=["zinc", "mono", "brass"])


def test_a_shard_lost_from_the_store_matters_to_its_own_category_alone(two_versions: Path, tmp_path: Path) -> None:
    store = remote_of(two_versions)
    md5 = hashes_of(two_versions, "cells-v2")["images/poly/00002.parquet"]
    key = f"{CONTENT}{md5[:2]}/{md5[2:]}"
    content = store.read(key)
    store.delete(key)
    try:
        with pytest.raises(DefectoryError, match=r"images/poly/00002.parquet: .* is not in the store"):
            pull("cells-v2", two_versions, tmp_path / "poly", categories=["poly"])
        assert len(ReleaseDataset(pull("cells-v2", two_versions, tmp_path / "mono", categories=["mono"]))) == 5
    finally:
        store._client.put_object(Bucket=store.bucket, Key=store._key(key), Body=content)
