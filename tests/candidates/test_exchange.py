"""What workers share, through a real S3 store: kits and shards arrive whole and checked, or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.server.local_store import StoreKey
from tasks.candidates.exchange import (
    KIT_DATA,
    KIT_PARAMS,
    Delivery,
    collect_shard,
    delivered,
    fetch_kit,
    run_name,
    share_kit,
)
from tasks.candidates.files import shard_files
from tasks.candidates.read import is_done
from tasks.contracts import DefectoryError, ShardPlan
from tasks.files.hashing import sha256
from tasks.params import load_params
from tasks.store.s3 import Store
from tests.factories import Workspace, make_inputs, make_params, make_workspace
from tests.factory_fixtures import hashes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("made") / "data")


@pytest.fixture
def store(endpoint: str, key: StoreKey, request: pytest.FixtureRequest) -> Store:
    return Store(f"s3://datasets/exchange-tests/{sha256(request.node.name.encode())[:16]}", endpoint)


@pytest.fixture
def plan(made: Workspace, store: Store) -> ShardPlan:
    """The first shard, delivered."""
    Delivery(store, made.candidates).send(made.plans[0])
    return made.plans[0]


def write_kit(folder: Path) -> Path:
    for name, text in (("inputs/splits.json", "splits"), ("models/net.safetensors", "weights"), ("models/a/b", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "models" / ".net.safetensors.7.partial").write_text("half a net")
    (folder / "candidates").mkdir()
    (folder / "candidates" / "secret").write_text("stays here")
    return folder


def test_a_kit_arrives_as_it_was_and_nothing_else_does(store: Store, tmp_path: Path) -> None:
    sent = share_kit(store, make_params(), write_kit(tmp_path / "mine"))
    assert sent == len("splits") + len("weights")
    fetch_kit(store, tmp_path / "theirs")
    arrived = hashes(tmp_path / "theirs" / KIT_DATA)
    assert set(arrived) == {"inputs/splits.json", "models/net.safetensors", "models/a/b"}
    assert arrived.items() <= hashes(tmp_path / "mine").items()
    assert load_params(tmp_path / "theirs" / KIT_PARAMS) == make_params()


def test_a_kit_is_sent_and_fetched_once(store: Store, tmp_path: Path) -> None:
    mine = write_kit(tmp_path / "mine")
    share_kit(store, make_params(), mine)
    assert share_kit(store, make_params(), mine) == 0
    fetch_kit(store, tmp_path / "theirs")
    before = (tmp_path / "theirs" / KIT_DATA / "models" / "net.safetensors").stat().st_mtime_ns
    (tmp_path / "theirs" / KIT_DATA / "inputs" / "splits.json").write_text("torn")
    fetch_kit(store, tmp_path / "theirs")
    assert (tmp_path / "theirs" / KIT_DATA / "models" / "net.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "theirs" / KIT_DATA / "inputs" / "splits.json").read_text() == "splits"


def test_a_kit_without_its_listing_is_none(store: Store, tmp_path: Path) -> None:
    """The listing is written last: a coordinator that is killed before leaves objects, and no kit."""
    share_kit(store, make_params(), write_kit(tmp_path / "mine"))
    store.delete("kit.json")
    with pytest.raises(DefectoryError, match="no run is shared there"):
        fetch_kit(store, tmp_path / "theirs")


def test_a_damaged_object_of_a_kit_is_refused_and_sent_again(store: Store, tmp_path: Path) -> None:
    mine = write_kit(tmp_path / "mine")
    share_kit(store, make_params(), mine)
    damaged = next(name for name, item in store.listing("objects/").items() if item.size == len("weights"))
    store.write(damaged, b"wEights")
    with pytest.raises(DefectoryError, match="damaged, and removed"):
        fetch_kit(store, tmp_path / "theirs")
    assert not list((tmp_path / "theirs" / KIT_DATA / "models").glob("*net*"))
    assert share_kit(store, make_params(), mine) == len("weights")
    fetch_kit(store, tmp_path / "theirs")


@pytest.mark.parametrize(
    "name", ["../x", "inputs/../../x", "/etc/x", "candidates/x", "params.yaml", "inputs/..", "models\\..\\x"]
)
def test_a_kit_writes_nothing_outside_of_inputs_and_models(store: Store, tmp_path: Path, name: str) -> None:
    content = b"planted"
    store.write("objects/" + "a" * 64, content)
    store.write("kit.json", json.dumps({"params": {}, "files": {name: "a" * 64}}).encode())
    with pytest.raises(DefectoryError, match=r"leads out of its folder|no file of inputs or models"):
        fetch_kit(store, tmp_path / "theirs")
    assert not list(tmp_path.rglob("*"))


def test_a_hash_in_a_listing_is_a_hash(store: Store, tmp_path: Path) -> None:
    store.write("kit.json", json.dumps({"params": {}, "files": {"inputs/x": "../kit.json"}}).encode())
    with pytest.raises(DefectoryError, match="no file of inputs or models"):
        fetch_kit(store, tmp_path / "theirs")


def test_a_delivered_shard_is_collected_byte_for_byte(
    made: Workspace, store: Store, plan: ShardPlan, tmp_path: Path
) -> None:
    assert delivered(store) == {plan.name}
    assert Delivery(store, made.candidates).has(plan)
    assert not Delivery(store, made.candidates).has(made.plans[1])
    assert collect_shard(store, tmp_path, plan)
    arrived = hashes(tmp_path)
    assert len(arrived) == 3
    assert arrived.items() <= hashes(made.candidates).items()
    assert is_done(tmp_path, plan)


def test_a_shard_that_is_half_sent_is_not_there(made: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write", die)
    with pytest.raises(KeyboardInterrupt):
        Delivery(store, made.candidates).send(made.plans[0])
    assert store.listing("objects/")
    assert delivered(store) == set()


@pytest.mark.parametrize("harm", ["changed", "lost"])
def test_a_shard_whose_bytes_are_others_is_withdrawn(
    made: Workspace, store: Store, plan: ShardPlan, tmp_path: Path, harm: str
) -> None:
    name, item = next(iter(store.listing("objects/").items()))
    store.write(name, bytes(item.size)) if harm == "changed" else store.delete(name)
    assert not collect_shard(store, tmp_path, plan)
    assert not is_done(tmp_path, plan)
    assert delivered(store) == set(), "a worker has to be asked for it again"
    Delivery(store, made.candidates).send(plan)
    assert collect_shard(store, tmp_path, plan)


def test_a_shard_of_other_params_is_not_taken(made: Workspace, store: Store, plan: ShardPlan, tmp_path: Path) -> None:
    assert not collect_shard(store, tmp_path, replace(plan, fingerprint="other"))
    assert not hashes(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"painted": 0},
        {"files": {}},
        {"files": {"../../x": {"bytes": 1, "sha256": "a" * 64}, "00000.parquet": {"bytes": 1, "sha256": "a" * 64}}},
    ],
)
def test_a_marker_that_vouches_for_something_else_is_not_taken(
    store: Store, plan: ShardPlan, tmp_path: Path, change: dict[str, object]
) -> None:
    key = f"done/{plan.name}.json"
    store.write(key, json.dumps(json.loads(store.read(key)) | change).encode())
    assert not collect_shard(store, tmp_path / "candidates", plan)
    assert not hashes(tmp_path)
    store.write(key, b"{")
    assert not collect_shard(store, tmp_path / "candidates", plan)


def test_two_workers_at_the_same_shard_do_not_mix(
    made: Workspace, store: Store, plan: ShardPlan, tmp_path: Path
) -> None:
    """On other hardware the same shard has other bytes: of both sets of files, one marker's are taken."""
    other = make_workspace(tmp_path / "other", made.params, faint=frozenset(spec.sample_id for spec in plan.specs))
    other_plan = other.plans[0]
    assert (
        shard_files(other.candidates, other_plan).images.read_bytes()
        != shard_files(made.candidates, plan).images.read_bytes()
    )
    Delivery(store, other.candidates).send(other_plan)
    store.write(f"done/{plan.name}.json", shard_files(made.candidates, plan).marker.read_bytes())
    assert collect_shard(store, tmp_path / "candidates", plan)
    assert hashes(tmp_path / "candidates").items() <= hashes(made.candidates).items()


def test_what_was_there_before_does_not_outlive_a_collection_that_fails(
    made: Workspace, store: Store, plan: ShardPlan, tmp_path: Path
) -> None:
    shutil.copytree(made.candidates, tmp_path / "candidates")
    name = f"objects/{hashes(made.candidates)[f'{plan.name}.scores.parquet']}"
    store.write(name, b"torn")
    assert not collect_shard(store, tmp_path / "candidates", plan)
    assert not is_done(tmp_path / "candidates", plan), "images of one making and scores of another look done"


def test_a_run_is_named_by_all_that_a_worker_needs() -> None:
    inputs, params = make_inputs(), make_params()
    names = {
        run_name(params, inputs, "model"),
        run_name(params, inputs, "another"),
        run_name(params, replace(inputs, sha256="1" * 64), "model"),
        run_name(make_params(samples=9), inputs, "model"),
    }
    assert len(names) == 4
    assert run_name(make_params(), make_inputs(), "model") in names
