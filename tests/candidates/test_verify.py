from pathlib import Path

import pytest

from tasks.candidates.files import shard_files
from tasks.candidates.read import is_done
from tasks.candidates.verify import verify_shards
from tasks.plan import plan_shards
from tests.factories import Workspace, make_params, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path, make_params(64, samples=2, shard_size=1))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("which", ["images", "scores"])
def test_one_flipped_bit_is_found_and_its_shard_alone_is_named(workspace: Workspace, which: str) -> None:
    assert verify_shards(workspace.candidates, workspace.plans) == []
    damaged = getattr(shard_files(workspace.candidates, workspace.plans[2]), which)
    flip_a_bit(damaged)
    (line,) = verify_shards(workspace.candidates, workspace.plans)
    assert line.startswith(f"poly/00000: {damaged.name} is damaged: expected SHA-256")
    assert "`defectory run` makes it again" in line
    still_done = [is_done(workspace.candidates, plan) for plan in workspace.plans]
    assert still_done == [True, True, False, True]


def test_a_missing_a_cut_and_an_unfinished_shard_are_named(workspace: Workspace) -> None:
    files = [shard_files(workspace.candidates, plan) for plan in workspace.plans]
    files[0].images.unlink()
    files[1].scores.write_bytes(b"")
    files[2].marker.unlink()
    files[3].marker.write_bytes(b"{")
    lines = verify_shards(workspace.candidates, workspace.plans)
    assert [line.split(":")[0] for line in lines] == ["mono/00000", "mono/00001", "poly/00000", "poly/00001"]
    for line, word in zip(
        lines, ("is missing", "found 0", "was not finished", "00001.done.json is damaged"), strict=True
    ):
        assert word in line


def test_shards_of_other_params_are_named(workspace: Workspace) -> None:
    other = plan_shards(workspace.params, workspace.inputs, "another model")
    lines = verify_shards(workspace.candidates, other)
    assert len(lines) == len(other)
    assert all("other params" in line for line in lines)
