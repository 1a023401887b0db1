from pathlib import Path

from tasks.candidates.read import is_done
from tasks.candidates.sweep import sweep_stale
from tasks.plan import plan_shards
from tests.factories import Workspace, make_inputs, make_params, make_workspace


def names_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def three(name: str) -> set[str]:
    return {f"{name}{ending}" for ending in (".parquet", ".scores.parquet", ".done.json")}


def make(root: Path) -> Workspace:
    return make_workspace(root, make_params(64, samples=2, shard_size=1))


def test_nothing_is_swept_where_all_is_well(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    before = names_below(workspace.candidates)
    assert sweep_stale(workspace.candidates, workspace.plans) == []
    assert names_below(workspace.candidates) == before


def test_shards_of_another_fingerprint_and_of_no_plan_go_and_are_named(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    changed = plan_shards(workspace.params, workspace.inputs, "another model")
    plans = [workspace.plans[0], changed[1]]
    removed = sweep_stale(workspace.candidates, plans)
    assert set(removed) == three("mono/00001") | three("poly/00000") | three("poly/00001")
    assert removed == sorted(removed)
    assert names_below(workspace.candidates) == three("mono/00000")
    assert not (workspace.candidates / "poly").exists()
    assert is_done(workspace.candidates, workspace.plans[0])


def test_what_a_dead_process_left_goes_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    folder = workspace.candidates / "mono"
    (folder / ".00000.parquet.123.partial").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    (workspace.candidates / "notes.txt").write_text("mine")
    (folder / "00001.done.json").unlink()
    removed = sweep_stale(workspace.candidates, workspace.plans)
    assert removed == ["mono/.00000.parquet.123.partial", "mono/00001.parquet", "mono/00001.scores.parquet"]
    assert {"mono/notes.txt", "notes.txt"} < names_below(workspace.candidates)


def test_a_folder_that_is_not_there_is_clean(tmp_path: Path) -> None:
    plans = plan_shards(make_params(64), make_inputs(64), "model")
    assert sweep_stale(tmp_path / "none", plans) == []
