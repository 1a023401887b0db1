"""The line as it is run: real flows on a real server, with a system that needs no model."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from typer.testing import CliRunner

from flows.cli import app
from flows.factory import factory, resume
from flows.generate import generate
from flows.line import stations
from flows.machines.fan_out import Shared, share_run
from flows.machines.part import generate_part
from flows.server.local_store import StoreKey
from flows.versions.verbs import verify_here
from tasks.candidates.exchange import Delivery, delivered
from tasks.candidates.read import read_scores
from tasks.contracts import DefectoryError, DrawnMask, InputImage, ReferenceMask, SampleSpec, ShardPlan
from tasks.generation import line
from tasks.params import MasksParams
from tasks.plan import Part
from tasks.workspace import Workspace
from tests import stand_in
from tests.factory_fixtures import SAMPLES, SHARDS, hashes, write_params, write_photographs

TOLERANT = {"max_failed_share": 0.5}


@pytest.fixture(scope="session")
def undisturbed(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace through which the whole line has run once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_photographs(folder)
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        made = factory(write_params(folder), folder / "data")
    assert (made.shards, made.lost) == (SHARDS, {})
    return folder


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose inputs are read and whose system is trained, so that `generate` can begin."""
    stand_in.register(monkeypatch)
    for stage in ("inputs", "models"):
        shutil.copytree(undisturbed / "data" / stage, tmp_path / "data" / stage)
    return tmp_path


def test_a_run_releases_and_a_second_one_does_nothing(undisturbed: Path, folder: Path) -> None:
    root = undisturbed / "data"
    assert (root / "release" / "manifest.parquet").is_file()
    before = hashes(root)
    times = {path: path.stat().st_mtime_ns for path in (root / "candidates").rglob("*.*")}
    assert factory(undisturbed / "params.yaml", root).shards == 0
    assert hashes(root) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times, "a finished shard was written again"


def test_timings_are_beside_the_data(undisturbed: Path) -> None:
    record = Workspace(undisturbed / "data").read_timings("generate")
    assert len(record["shards"]) == SHARDS
    assert all({*stations.STATIONS, "samples"} <= shard.keys() for shard in record["shards"].values())
    assert 0 < record["model_seconds"] <= record["wall_seconds"]
    assert not [name for name in hashes(undisturbed / "data") if "timings" in name]


def test_the_graph_shows_every_station_of_every_shard(folder: Path) -> None:
    made = generate(write_params(folder), folder / "data", return_state=True)
    expected = {f"{name} {shard}" for name in stations.STATIONS for shard in shard_names()}
    runs = finished_task_runs(made.state_details.flow_run_id, len(expected))
    assert {run.name for run in runs} == expected
    assert all(run.total_run_time.total_seconds() > 0 for run in runs)
    painted = {run.name: run for run in runs}
    upstream = {str(link.id) for links in painted["adapt brass/00000"].task_inputs.values() for link in links}
    assert str(painted["paint brass/00000"].id) in upstream


def finished_task_runs(flow_run: object, count: int) -> list[TaskRun]:
    """The server's records of a flow's tasks; they arrive as events, a moment after the flow itself has ended."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    with get_client(sync_client=True) as client:
        for _ in range(300):
            runs = client.read_task_runs(flow_run_filter=wanted)
            if sum(run.state is not None and run.state.is_completed() for run in runs) >= count:
                return runs
            time.sleep(0.1)
    return runs


def shard_names() -> list[str]:
    return [f"{category}/{number:05d}" for category in ("brass", "steel") for number in range(SHARDS // 2)]


def test_the_next_shards_masks_are_drawn_while_one_is_painted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, root = write_params(folder), folder / "data"
    second_is_drawn = threading.Event()
    seen: list[bool] = []
    drawer = line.draw_mask

    def draw(
        spec: SampleSpec, clean: InputImage, references: Sequence[ReferenceMask], wanted: MasksParams
    ) -> DrawnMask:
        if spec.sample_id == "brass-000002":
            second_is_drawn.set()
        return drawer(spec, clean, references, wanted)

    def wait(specs: Sequence[SampleSpec]) -> None:
        if specs[0].sample_id == "brass-000000":
            seen.append(second_is_drawn.wait(timeout=60))

    monkeypatch.setattr(line, "draw_mask", draw)
    with stand_in.painting(wait):
        generate(params, root)
    assert seen == [True]


def test_killed_between_shards_and_resumed_gives_the_same_bytes(undisturbed: Path, folder: Path) -> None:
    params, root = write_params(folder), folder / "data"
    killed = subprocess.run([sys.executable, "-c", _KILLED_AFTER_TWO_SHARDS, params, root], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    markers = list((root / "candidates").rglob("*.done.json"))
    assert 2 <= len(markers) < SHARDS
    assert resume(params, root).shards == SHARDS - len(markers)
    assert hashes(root) == hashes(undisturbed / "data")


_KILLED_AFTER_TWO_SHARDS = """
import os, signal, sys
from pathlib import Path
import pytest
from flows.line import stations
from flows.generate import generate
from tests import stand_in

written = []
write_shard = stations.write_shard

def write(root, plan, candidates, failures):
    write_shard(root, plan, candidates, failures)
    written.append(plan.name)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

stand_in.register(pytest.MonkeyPatch())
stations.write_shard = write
generate(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_shard_that_fails_once_is_made_at_the_end(undisturbed: Path, folder: Path) -> None:
    params, root = write_params(folder), folder / "data"
    tried: list[str] = []

    def stumble(specs: Sequence[SampleSpec]) -> None:
        tried.append(specs[0].sample_id)
        if tried == ["brass-000000"]:
            raise RuntimeError("out of memory")

    with stand_in.painting(stumble):
        assert generate(params, root).lost == {}
    assert tried == ["brass-000000", "brass-000002", "steel-000000", "steel-000002", "brass-000000"]
    assert hashes(root / "candidates") == hashes(undisturbed / "data" / "candidates")


def test_a_shard_that_always_fails_costs_no_other(folder: Path) -> None:
    params, root = write_params(folder, select=TOLERANT), folder / "data"

    def fail(specs: Sequence[SampleSpec]) -> None:
        if specs[0].sample_id == "brass-000000":
            raise RuntimeError("a bad shape\nwith details")

    with stand_in.painting(fail):
        made = generate(params, root)
    assert made.lost == {"brass/00000": "RuntimeError: a bad shape"}
    scores = read_scores(root / "candidates").set_index("sample_id")["error"]
    assert list(scores["brass-000000":"brass-000001"]) == ["generate: RuntimeError: a bad shape"] * 2
    assert scores.drop(["brass-000000", "brass-000001"]).isna().all()
    assert generate(params, root).samples == 2, "the reason is gone, so the shard is made"


def test_too_many_failures_end_the_run_after_everything_was_tried(folder: Path) -> None:
    params, root = write_params(folder), folder / "data"

    def fail(specs: Sequence[SampleSpec]) -> None:
        if specs[0].category == "brass":
            raise DefectoryError("no paint left")

    with stand_in.painting(fail), pytest.raises(DefectoryError, match=r"4 of 8 samples.*no paint left"):
        generate(params, root)
    assert len(list((root / "candidates" / "steel").glob("*.done.json"))) == SHARDS // 2


def test_a_sample_without_a_mask_is_a_failure_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, root = write_params(folder, select=TOLERANT), folder / "data"
    drawer = line.draw_mask

    def draw(
        spec: SampleSpec, clean: InputImage, references: Sequence[ReferenceMask], wanted: MasksParams
    ) -> DrawnMask:
        if spec.sample_id in ("brass-000001", "steel-000002", "steel-000003"):  # one, and a whole shard
            raise DefectoryError("it does not fit")
        return drawer(spec, clean, references, wanted)

    monkeypatch.setattr(line, "draw_mask", draw)
    assert generate(params, root).lost == {}
    errors = read_scores(root / "candidates").set_index("sample_id")["error"].dropna()
    assert errors.to_dict() == dict.fromkeys(["brass-000001", "steel-000002", "steel-000003"], "masks: it does not fit")


def test_a_shard_that_cannot_be_written_ends_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, root = write_params(folder), folder / "data"
    painted: list[str] = []

    def refuse(*given: object) -> None:
        raise DefectoryError("no disk space left")

    monkeypatch.setattr(stations, "write_shard", refuse)
    with (
        stand_in.painting(lambda specs: painted.append(specs[0].sample_id)),
        pytest.raises(DefectoryError, match="no disk space left"),
    ):
        generate(params, root)
    assert len(painted) <= 3, "painting went on although nothing could be kept"


def test_changed_params_sweep_what_they_left_behind(folder: Path) -> None:
    params, root = write_params(folder), folder / "data"
    generate(params, root)
    text = params.read_text()
    params.write_text(text.replace(f"samples_per_category: {SAMPLES}", "samples_per_category: 2"))
    assert generate(params, root).shards == 0, "a sample does not depend on how many there are"
    assert len(list((root / "candidates").rglob("*.done.json"))) == 2


def test_resuming_without_inputs_says_what_to_do(folder: Path) -> None:
    with pytest.raises(DefectoryError, match="defectory run"):
        resume(write_params(folder), folder / "elsewhere")


def test_the_verbs_that_look_see_a_finished_run(undisturbed: Path, folder: Path) -> None:
    places = ["--params", str(undisturbed / "params.yaml"), "--root", str(undisturbed / "data")]
    said = {verb: CliRunner().invoke(app, [verb, *places]) for verb in ("plan", "status", "verify")}
    assert {verb: result.exit_code for verb, result in said.items()} == dict.fromkeys(said, 0)
    assert "nothing is missing" in said["plan"].output
    assert "missing" not in said["status"].output
    assert f"{SHARDS} shards of candidates and the release are whole" in said["verify"].output


def test_verify_names_what_is_damaged(undisturbed: Path, folder: Path) -> None:
    shutil.copytree(undisturbed / "data", folder / "data", dirs_exist_ok=True)
    damaged = folder / "data" / "candidates" / "steel" / "00001.parquet"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(DefectoryError, match=r"1 of 4 shards.*\n.*steel/00001"):
        verify_here(write_params(folder), folder / "data")


def test_parts_made_one_by_one_are_the_whole(undisturbed: Path, folder: Path) -> None:
    params, root = write_params(folder), folder / "data"
    being_written = root / "candidates" / "steel" / ".00001.parquet.7.partial"
    being_written.parent.mkdir(parents=True)
    being_written.write_bytes(b"half of what another part is writing")
    made = [generate(params, root, Part(index, 3)).shards for index in range(3)]
    assert made == [2, 1, 1]
    assert being_written.exists()
    assert resume(params, root).shards == 0, "everything is there"
    assert hashes(root) == hashes(undisturbed / "data"), "and what nobody writes any more is swept"


def test_a_part_is_judged_by_its_own_shards(folder: Path) -> None:
    params, root = write_params(folder, select=TOLERANT), folder / "data"

    def fail(specs: Sequence[SampleSpec]) -> None:
        if specs[0].sample_id == "brass-000000":
            raise DefectoryError("no paint left")

    with stand_in.painting(fail):
        assert generate(params, root, Part(1, 2)).lost == {}
        with pytest.raises(DefectoryError, match=r"2 of 2 samples.*no paint left"):
            generate(params, root, Part(0, 4))


@pytest.fixture
def shared(folder: Path, endpoint: str, key: StoreKey, monkeypatch: pytest.MonkeyPatch) -> Shared:
    """A run in the store, and a machine of its own for whoever makes a part of it."""
    monkeypatch.setenv("DEFECTORY_SCRATCH", str(folder / "scratch"))
    store = f"s3://datasets/part-tests/{folder.name}"
    return share_run(store, endpoint, write_params(folder), folder / "data")


def test_shared_parts_are_sent_collected_and_released(undisturbed: Path, folder: Path, shared: Shared) -> None:
    for index in range(2):
        assert generate_part(shared.store.url, index, 2, shared.store.endpoint).shards == SHARDS // 2
    assert generate_part(shared.store.url, 1, 2, shared.store.endpoint).shards == 0, "what is there is not made again"
    assert shared.collect(shared.missing, delivered(shared.store)) == []
    assert resume(folder / "params.yaml", folder / "data").shards == 0
    assert hashes(folder / "data") == hashes(undisturbed / "data")


def test_what_a_killed_worker_had_finished_and_not_sent_is_sent(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[str] = []

    def die(delivery: Delivery, plan: ShardPlan) -> None:
        raise DefectoryError("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "send", die)
        with pytest.raises(DefectoryError, match="the store is gone"):
            generate_part(shared.store.url, 0, 1, shared.store.endpoint)
    assert delivered(shared.store) == set()
    with stand_in.painting(lambda specs: painted.append(specs[0].sample_id)):
        generate_part(shared.store.url, 0, 1, shared.store.endpoint)
    assert len(delivered(shared.store)) == SHARDS
    assert "brass-000000" not in painted, "it lay there finished"


def test_a_worker_with_other_code_makes_nothing(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.candidates.exchange.CODE_VERSION", 10**6)
    with pytest.raises(DefectoryError, match="version of defectory is another one"):
        generate_part(shared.store.url, 0, 1, shared.store.endpoint)
    assert delivered(shared.store) == set()
