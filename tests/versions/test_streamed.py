"""`open_release(TAG, stream=...)`: a version straight out of a real S3 store, beside the same release in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tasks.contracts import DefectoryError
from tasks.store.s3 import Store
from tasks.versions import Stream, open_release
from tasks.versions.locked import RELEASE
from tasks.versions.pulled import ReleaseDataset
from tasks.versions.remote import remote_of
from tasks.versions.stored import StoredShard, _end_of
from tasks.versions.streamed import StreamedRelease
from tests.conftest import KEY
from tests.stored_version import store_version
from tests.tiny_release import write_release

CATEGORIES, SAMPLES = ("bolt", "cell", "tile"), 7
SHUFFLED = Stream(seed=3, buffer=4)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "release"
    write_release(folder, SAMPLES, rows_per_group=2, categories=CATEGORIES)
    return folder


@pytest.fixture(scope="module")
def version(endpoint: str, release: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A repository with the tag `v1` and no data, and the keys of the version's files."""
    repo = tmp_path_factory.mktemp("streams") / "clone"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEY.environment().items():
            patch.setenv(name, value)
        return repo, store_version(repo, release, "v1", "s3://datasets/streams", endpoint)


@pytest.fixture
def repo(version: tuple[Path, dict[str, str]], key: object) -> Path:
    _end_of.cache_clear()  # nothing of a shard is known from another test
    return version[0]


def batches(dataset: StreamedRelease, workers: int = 0, size: int = 2) -> list[list[str]]:
    return [batch["sample_id"] for batch in loading(dataset, workers, size)]


def loading(
    dataset: StreamedRelease, workers: int, size: int = 2, persistent: bool = False
) -> DataLoader[dict[str, Any]]:
    # Forked from a process full of other tests' threads, workers would die of those.
    context = "forkserver" if workers else None
    return DataLoader(
        dataset,
        batch_size=size,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=persistent,
    )


def flat(lists: list[list[str]]) -> list[str]:
    return [name for names in lists for name in names]


def all_ids(*categories: str) -> list[str]:
    return [f"{name}-{index:06d}" for name in categories or CATEGORIES for index in range(SAMPLES)]


def test_items_are_those_of_the_pulled_release(repo: Path, release: Path) -> None:
    assert not (repo / RELEASE).exists()
    streamed, local = open_release("v1", repo, stream=Stream(buffer=3, verify=True)), ReleaseDataset(release)
    assert (streamed.labels, streamed.categories, streamed.samples) == (local.labels, local.categories, len(local))
    for ours, theirs in zip(streamed, local, strict=True):
        assert list(ours) == list(theirs)
        assert (ours["sample_id"], ours["label"], type(ours["label"])) == (theirs["sample_id"], theirs["label"], int)
        for name in ("image", "mask"):
            assert ours[name].dtype == theirs[name].dtype
            assert torch.equal(ours[name], theirs[name])


def test_two_workers_share_the_samples_and_an_epoch_shuffles_anew(repo: Path) -> None:
    dataset = open_release("v1", repo, stream=SHUFFLED)
    first = flat(batches(dataset, workers=2))
    assert sorted(first) == all_ids()
    assert first != sorted(first)
    assert flat(batches(dataset, workers=2)) == first
    dataset.set_epoch(1)
    second = flat(batches(dataset, workers=2))
    assert sorted(second) == all_ids()
    assert second != first


@pytest.mark.parametrize(("workers", "stopped_after"), [(0, 3), (2, 3)])
def test_a_stopped_epoch_goes_on_with_the_very_next_batch(
    repo: Path, tmp_path: Path, workers: int, stopped_after: int
) -> None:
    whole = batches(open_release("v1", repo, stream=SHUFFLED), workers)
    stopped = open_release("v1", repo, stream=SHUFFLED)
    given = []
    for batch in loading(stopped, workers):
        given.append(batch["sample_id"])
        stopped.mark_seen(batch["sample_id"])
        if len(given) == stopped_after:
            break
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = open_release("v1", repo, stream=SHUFFLED)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [*given, *batches(resumed, workers)] == whole
    assert sorted(flat(given) + flat(batches(resumed, workers=1))) == all_ids()  # other workers: none doubled or lost
    resumed.set_epoch(resumed.epoch)
    assert len(flat(batches(resumed))) == len(all_ids()) - 2 * stopped_after
    resumed.set_epoch(resumed.epoch + 1)
    assert sorted(flat(batches(resumed))) == all_ids()


def test_workers_that_persist_follow_the_epoch_and_what_was_seen(repo: Path) -> None:
    dataset = open_release("v1", repo, stream=SHUFFLED)
    loader = loading(dataset, 1, persistent=True)
    first = [batch["sample_id"] for batch in loader]
    dataset.set_epoch(1)
    dataset.mark_seen(["bolt-000000", "tile-000006"])
    dataset.set_epoch(1)
    second = flat([batch["sample_id"] for batch in loader])
    assert second != flat(first)
    assert sorted(second) == sorted(set(all_ids()) - {"bolt-000000", "tile-000006"})


def test_a_worker_that_starts_late_takes_its_own_part(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_release("v1", repo, stream=SHUFFLED)

    def part_of(worker: int) -> Iterator[dict[str, Any]]:
        monkeypatch.setattr(
            "tasks.versions.streamed.get_worker_info", lambda: SimpleNamespace(id=worker, num_workers=2)
        )
        return iter(dataset)

    early = part_of(0)
    given = [next(early)["sample_id"], next(early)["sample_id"]]
    dataset.mark_seen(given)
    late = [item["sample_id"] for item in part_of(1)]
    assert sorted([*given, *(item["sample_id"] for item in early), *late]) == all_ids()


@pytest.mark.parametrize("seed", [None, 5])
def test_ranks_share_an_epoch_without_doubles(repo: Path, seed: int | None) -> None:
    parts = [open_release("v1", repo, stream=Stream(seed=seed, rank=rank, world_size=4)) for rank in range(4)]
    assert [part.samples for part in parts] == [5, 5, 5, 6]
    assert sorted(flat([flat(batches(part)) for part in parts])) == all_ids()


def test_categories_are_all_that_is_read(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, read_end = set(), Store.read_end
    monkeypatch.setattr(Store, "read_end", lambda store, key, count: keys.add(key) or read_end(store, key, count))
    dataset = open_release("v1", repo, stream=Stream(categories=("tile", "bolt")))
    assert flat(batches(dataset)) == all_ids("bolt", "tile")
    assert keys <= {dataset.release.shards[f"images/{name}/00000.parquet"].key for name in ("bolt", "tile")}
    with pytest.raises(DefectoryError, match=r"'v1' holds no category nut; it holds: bolt, cell, tile"):
        open_release("v1", repo, stream=Stream(categories=("nut", "bolt")))


def test_of_a_large_shard_only_the_wanted_row_group_is_read(
    repo: Path, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.versions.stored._END_BYTES", 1 << 16)
    ranges: list[tuple[int, int]] = []
    read_range = Store.read_range

    def record(store: Store, key: str, start: int, stop: int) -> bytes:
        ranges.append((start, stop))
        return read_range(store, key, start, stop)

    monkeypatch.setattr(Store, "read_range", record)
    write_release(tmp_path / "large", 60, rows_per_group=5)
    keys = store_version(tmp_path / "clone", tmp_path / "large", "v1", "s3://datasets/large", endpoint)
    name = "images/cell/00000.parquet"
    found = StoredShard("s3://datasets/large", endpoint, keys[name]).read([12, 14])
    assert [(row, stored["sample_id"]) for row, stored in found.items()] == [(12, "cell-000012"), (14, "cell-000014")]
    [(start, stop)] = ranges
    assert stop - start < (tmp_path / "large" / name).stat().st_size / 10  # one group of twelve
    assert StoredShard("s3://datasets/large", endpoint, keys[name]).read([59])[59]["sample_id"] == "cell-000059"
    assert len(ranges) == 1  # the last group came with the end
    with pytest.raises(DefectoryError, match="has 60 rows, the manifest names row 60: publish again"):
        StoredShard("s3://datasets/large", endpoint, keys[name]).read([60])


def test_a_lost_object_is_named(version: tuple[Path, dict[str, str]], repo: Path) -> None:
    keys, store = version[1], remote_of(repo)
    lost = keys["images/cell/00000.parquet"]
    content = store.read(lost)
    store.delete(lost)
    try:
        with pytest.raises(DefectoryError, match=rf"v1: images/cell/00000.parquet: .*no object {lost} .*push the ver"):
            batches(open_release("v1", repo, stream=Stream()))
        with pytest.raises(DefectoryError, match=rf"v1: images/cell/00000.parquet: .*no object {lost} "):
            batches(open_release("v1", repo, stream=Stream()), workers=2)
    finally:
        store._client.put_object(Bucket=store.bucket, Key=store._key(lost), Body=content)


def test_other_bytes_than_were_pushed_are_named(
    version: tuple[Path, dict[str, str]], repo: Path, tmp_path: Path
) -> None:
    keys, store = version[1], remote_of(repo)
    changed = keys["images/cell/00000.parquet"]
    content = store.read(changed)
    write_release(tmp_path / "other", SAMPLES, categories=["nut"])
    nut = (tmp_path / "other" / "images/nut/00000.parquet").read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"IDAT") + 10] ^= 0xFF
    told = {nut: "holds nut-000000, expected cell-000000", b"no parquet": "is no shard", bytes(flipped): "of cell-0000"}
    try:
        for body, text in told.items():
            store._client.put_object(Bucket=store.bucket, Key=store._key(changed), Body=body)
            _end_of.cache_clear()
            with pytest.raises(DefectoryError, match=f"v1: images/cell/00000.parquet: .*{changed}.*publish") as told_as:
                list(open_release("v1", repo, stream=Stream(verify=True)))
            assert text in str(told_as.value)
    finally:
        store._client.put_object(Bucket=store.bucket, Key=store._key(changed), Body=content)


def test_a_wrong_key_is_refused_and_not_shown(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    with pytest.raises(DefectoryError, match=r"v1: the listing of data/release: .*refuses the key") as refused:
        open_release("v1", repo, stream=Stream())
    assert "hunter2" not in str(refused.value)


def test_what_does_not_fit_the_version_is_refused(repo: Path) -> None:
    dataset = open_release("v1", repo, stream=Stream())
    with pytest.raises(DefectoryError, match=r"'v1' holds no sample nut-000001"):
        dataset.mark_seen(["cell-000001", "nut-000001"])
    with pytest.raises(DefectoryError, match=r"the state is of the release 00.dir, the version 'v1' is"):
        dataset.load_state_dict({**dataset.state_dict(), "release": "00.dir"})
    with pytest.raises(DefectoryError, match=r"expected a rank from 0 to world_size - 1"):
        open_release("v1", repo, stream=Stream(rank=1))
    with pytest.raises(DefectoryError, match=r"tags here: v1"):
        open_release("v2", repo, stream=Stream())
