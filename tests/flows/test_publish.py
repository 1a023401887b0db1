"""Publishing and pulling, with a real git, a real dvc and a real S3 store; only the stages are stand-ins."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.publish import Publication, name_version, publish
from flows.versions.pull import pull
from flows.versions.remote_check import check_remote
from flows.versions.repository import dvc, git, init_workspace, override_endpoint
from tasks.contracts import DefectoryError
from tasks.versions import Stream, open_release
from tasks.versions.locked import locked_outputs
from tasks.versions.remote import CONTENT, remote_of
from tests.conftest import KEY
from tests.interruptible import take_interrupts

PROJECT = Path(__file__).parents[2]
DEAD = "http://127.0.0.1:9"
PARAMS = "dataset: {{name: cells, samples_per_category: {samples}}}\ninputs: {{sources: [{{kind: elpv}}]}}\n"
STAGES = """\
stages:
  candidates:
    cmd: mkdir -p data/candidates && cp params.yaml data/candidates/00000
    params: [dataset]
    outs: [{data/candidates: {persist: true}}]
  release:
    cmd: python -m tests.tiny_release
    deps: [data/candidates]
    params: [dataset]
    outs: [data/release]
"""


@pytest.fixture(scope="module")
def first(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Publication]:
    """A repository with its first version published."""
    repo = tmp_path_factory.mktemp("publish") / "workspace"
    repo.mkdir()
    (repo / "dvc.yaml").write_text(STAGES)
    (repo / "params.yaml").write_text(PARAMS.format(samples=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))
        patch.setenv("AWS_CONFIG_FILE", str(repo / "none"))
        for name, value in KEY.environment().items():
            patch.setenv(name, value)
        init_workspace(repo, "s3://datasets/publish-tests", endpoint)
        return repo, publish(repo)


@pytest.fixture
def repo(first: tuple[Path, Publication], key: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that repository, for one test to change."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    return Path(shutil.copytree(first[0], tmp_path / "workspace"))


def set_samples(repo: Path, samples: int) -> None:
    (repo / "params.yaml").write_text(PARAMS.format(samples=samples))
    git(repo, "commit", "-qam", f"{samples} samples")


def same(left: Path, right: Path) -> bool:
    names = sorted(path.relative_to(left) for path in left.rglob("*") if path.is_file())
    others = sorted(path.relative_to(right) for path in right.rglob("*") if path.is_file())
    return names == others and filecmp.cmpfiles(left, right, [str(name) for name in names], shallow=False)[1:] == (
        [],
        [],
    )


def test_the_first_version_is_tagged_and_whole_in_the_store(first: tuple[Path, Publication], key: object) -> None:
    repo, made = first
    assert (made.tag, made.is_new) == ("cells-v1", True)
    assert git(repo, "tag", "--list") == "cells-v1"
    assert git(repo, "diff", "--name-only", "HEAD") == ""
    stored = remote_of(repo).listing(CONTENT)
    assert made.checked_objects == made.pushed_files == len(stored) == 5  # two listings, two of release, one candidate
    assert made.pushed_bytes == sum(item.size for item in stored.values())
    committed = git(repo, "grep", "-I", "-e", ".", "HEAD")
    assert KEY.secret_key not in committed
    assert KEY.access_key not in committed


def test_an_unchanged_second_run_pushes_nothing_and_tags_nothing(repo: Path) -> None:
    head = git(repo, "rev-parse", "HEAD")
    again = publish(repo)
    assert (again.tag, again.is_new, again.pushed_files, again.pushed_bytes) == ("cells-v1", False, 0, 0)
    assert git(repo, "rev-parse", "HEAD") == head
    assert git(repo, "tag", "--list") == "cells-v1"


def test_changed_params_make_the_next_version_though_the_first_push_fails(repo: Path) -> None:
    set_samples(repo, 6)
    with pytest.raises(DefectoryError, match=r"dvc push failed: .*\(all that dvc said: "):
        publish(repo, announce=lambda step: override_endpoint(repo, DEAD) if step == "dvc push" else None)
    assert git(repo, "tag", "--list") == "cells-v1"
    (repo / ".dvc" / "config.local").unlink()
    made = publish(repo)
    assert (made.tag, made.is_new) == ("cells-v2", True)
    assert made.pushed_bytes > (repo / "data" / "release" / "manifest.parquet").stat().st_size
    [release] = [output for output in locked_outputs((repo / "dvc.lock").read_text()) if output.path == "data/release"]
    assert name_version(repo, None, release) == ("cells-v2", False)
    assert name_version(repo, "golden", release) == ("golden", True)
    with pytest.raises(DefectoryError, match=r"the tag 'cells-v1' names another release already"):
        name_version(repo, "cells-v1", release)


def test_a_pull_that_fails_is_taken_up_again_and_ends_with_equal_bytes(
    repo: Path, endpoint: str, tmp_path: Path
) -> None:
    config = repo / ".dvc" / "config"
    config.write_text(config.read_text().replace(endpoint, DEAD))
    git(repo, "commit", "-qam", "the store has moved")
    git(repo, "tag", "--force", "cells-v1")
    with pytest.raises(DefectoryError, match=f"the store at {DEAD} does not answer"):
        pull("cells-v1", repo, tmp_path / "pulled")
    assert same(pull("cells-v1", repo, tmp_path / "pulled", endpoint), repo / "data" / "release")
    pulled = open_release("cells-v1", tmp_path / "pulled")
    streamed = open_release("cells-v1", repo, stream=Stream(endpoint=endpoint))
    assert [item["sample_id"] for item in streamed] == [item["sample_id"] for item in pulled]
    assert len(pulled) == 5
    git(repo, "tag", "cells-v2", "cells-v1~1")
    with pytest.raises(DefectoryError, match=r"holds something else than 'cells-v2'"):
        pull("cells-v2", repo, tmp_path / "pulled")


def test_an_unknown_tag_cannot_be_pulled(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"cells-v9"):
        pull("cells-v9", repo, tmp_path / "pulled")


def test_a_store_that_is_down_is_named_before_any_work(repo: Path) -> None:
    set_samples(repo, 7)
    override_endpoint(repo, DEAD)
    with pytest.raises(DefectoryError, match=f"the store at {DEAD} does not answer"):
        publish(repo)
    assert git(repo, "tag", "--list") == "cells-v1"
    assert git(repo, "diff", "--name-only", "HEAD") == ""


def test_a_wrong_key_is_named_and_not_shown(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_samples(repo, 7)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    with pytest.raises(DefectoryError, match=r"refuses the key") as refused:
        publish(repo)
    assert "hunter2" not in str(refused.value)
    assert git(repo, "tag", "--list") == "cells-v1"


def test_an_object_lost_from_the_store_is_named_and_sent_again(repo: Path, tmp_path: Path) -> None:
    store, outputs = remote_of(repo), locked_outputs((repo / "dvc.lock").read_text())
    shard = repo / "data" / "release" / "images" / "cell" / "00000.parquet"
    lost = next(key for key, item in store.listing(CONTENT).items() if item.size == shard.stat().st_size)
    store.delete(lost)
    [problem] = check_remote(store, outputs, repo).problems
    assert problem.text == f"data/release/images/cell/00000.parquet: {lost} is not in the store"
    with pytest.raises(DefectoryError, match=r"the store does not have 'cells-v1' whole:\n  data/release/images/cell"):
        pull("cells-v1", repo, tmp_path / "pulled")
    store._client.put_object(Bucket=store.bucket, Key=store._key(lost), Body=bytes(shard.stat().st_size))
    [problem] = check_remote(store, outputs, repo).problems
    assert problem.text.endswith("holds other bytes in the store than were pushed")
    again = publish(repo)
    assert (again.tag, again.is_new) == ("cells-v1", False)
    assert again.pushed_bytes >= shard.stat().st_size
    assert check_remote(store, outputs, repo).problems == ()


def test_a_stage_that_fails_is_named_and_nothing_is_tagged(repo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (repo / "dvc.yaml").write_text(STAGES.replace("cp params.yaml", "echo 'it broke' && false"))
    git(repo, "commit", "-qam", "a stage that fails")
    with pytest.raises(DefectoryError, match=r"dvc repro failed: failed to reproduce 'candidates'"):
        publish(repo)
    said = capfd.readouterr()
    assert said.out == "it broke\n"  # the stage's words reach the terminal, dvc's do not
    assert said.err == ""
    assert git(repo, "tag", "--list") == "cells-v1"


def test_changes_that_are_not_committed_are_refused(repo: Path) -> None:
    (repo / "params.yaml").write_text(PARAMS.format(samples=7))
    with pytest.raises(DefectoryError, match=r"commit or discard your changes first: params.yaml"):
        publish(repo)


def test_publishing_inside_a_stage_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "release")
    with pytest.raises(DefectoryError, match=r"cannot run inside a dvc stage \(release\)"):
        publish(repo)


def test_another_dvc_at_work_is_waited_for(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = repo / ".dvc" / "tmp" / "rwlock"  # where dvc notes which process writes what
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    busy.write_text(json.dumps({"write": {str(repo / "data" / "candidates"): holder}}))
    waits: list[float] = []

    def other_ends(seconds: float) -> None:
        waits.append(seconds)
        busy.unlink()

    monkeypatch.setattr("flows.versions.repository.time.sleep", other_ends)
    dvc(repo, "commit", "--force")
    assert waits == [2.0]
    assert "is busy, it is being blocked by" in (repo / ".dvc" / "tmp" / "defectory.log").read_text()


_PUBLISHER = """
import sys
from pathlib import Path
from flows.publish import publish
publish(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_the_running_stage_is_interrupted_with_the_run(repo: Path, ending: signal.Signals) -> None:
    stage = "trap 'echo stopped > stopped; exit 130' INT; echo started > started; while true; do sleep 0.1; done"
    (repo / "stage.sh").write_text(stage)
    (repo / "dvc.yaml").write_text(STAGES.replace("cp params.yaml data/candidates/00000", "sh stage.sh"))
    git(repo, "commit", "-qam", "a stage that does not end")
    run = subprocess.Popen(
        [sys.executable, "-c", _PUBLISHER, str(repo)], stderr=subprocess.DEVNULL, preexec_fn=take_interrupts
    )
    try:
        _wait_for(repo / "started")
    finally:
        os.kill(run.pid, ending)  # to this one process alone, as a scheduler does
    run.wait(60)
    _wait_for(repo / "stopped")
    assert git(repo, "tag", "--list") == "cells-v1"


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.05)
