"""The commands as a person meets them: in a process of their own, judged by exit status and by what is said."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from flows.cli import app
from flows.looking import doctor
from flows.server.server import prefect_server
from flows.terminal import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, duration, progress, run_to_status, size
from tasks.contracts import DefectoryError
from tasks.workspace import Workspace
from tests import stand_in
from tests.factory_fixtures import CATEGORIES, SAMPLES, write_params, write_photographs

VERBS = ("plan", "run", "status", "resume", "release", "publish", "verify", "pull", "diff", "remake", "doctor", "up")
VERBS_OF_MANY = ("generate", "share", "collect", "fan-out", "worker", "deploy")
SECRET = "not-to-be-shown-1234"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in.register(monkeypatch)
    write_photographs(tmp_path)
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def defectory(*arguments: str) -> tuple[int, str]:
    """Exit status and everything that was printed, of a verb run in this process."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_names_every_verb() -> None:
    status, said = defectory("--help")
    assert status == EXIT_OK
    assert all(f" {verb} " in said for verb in VERBS + VERBS_OF_MANY)


def test_plan_says_what_would_be_made_before_anything_is_there(folder: Path) -> None:
    status, said = defectory("plan")
    assert status == EXIT_OK
    for category in CATEGORIES:
        row = next(line for line in said.splitlines() if category in line)
        assert [cell.strip() for cell in row.split("│")[2:6]] == [str(SAMPLES), "2", "0", str(SAMPLES)]
    assert "assuming two cores" in said
    assert "of disk" in said
    assert not (folder / "data").exists(), "looking made something"


def test_status_says_how_to_begin(folder: Path) -> None:
    status, said = defectory("status")
    assert status == EXIT_OK
    assert said.count("missing") == 3 + len(CATEGORIES)
    assert "`defectory run` begins" in said


def test_the_doctor_says_what_to_do_and_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    findings = {finding.check: finding for finding in doctor.examine(Path("params.yaml"), Workspace(), folder)}
    assert findings["sources"].text == "18 images in 2 sources"
    assert findings["weights"].ok
    assert findings["disk"].ok
    assert not findings["store"].ok
    status, said = defectory("doctor")
    assert status == EXIT_FAILED
    assert "fail dvc remote" in said
    assert SECRET not in said


def test_the_doctor_goes_on_after_a_bad_params_file(folder: Path) -> None:
    (folder / "params.yaml").write_text("dataset: {nam: x}\ninputs: {sources: []}\n")
    findings = {finding.check: finding for finding in doctor.examine(Path("params.yaml"), Workspace(), folder)}
    assert "did you mean 'name'" in findings["params"].text
    assert findings["device"].ok


def test_a_disk_that_is_too_small_is_found_before_the_run(folder: Path) -> None:
    write_params(folder, dataset={"samples_per_category": 10**9})
    findings = {finding.check: finding for finding in doctor.examine(Path("params.yaml"), Workspace(), folder)}
    assert not findings["disk"].ok
    assert "--root on another disk" in findings["disk"].text


@pytest.mark.parametrize("stage", ["inputs", "train", "generate", "release"])
def test_bad_params_end_a_stage_with_one_clear_message(
    folder: Path, stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(folder, dataset={"shard_sise": 4})
    monkeypatch.setattr(sys, "argv", [stage])
    monkeypatch.delitem(sys.modules, f"flows.{stage}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"flows.{stage}", run_name="__main__")
    assert ended.value.code == EXIT_FAILED
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "error: params.yaml:",
        "  dataset.shard_sise: unknown key; did you mean 'shard_size'?",
    ]
    assert said.out == ""


def test_an_unreachable_server_is_named_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with prefect_server():
            pytest.fail("there is no server")

    with temporary_settings({PREFECT_API_URL: f"http://me:{SECRET}@127.0.0.1:9/api"}):
        assert run_to_status(run) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.startswith("error: no Prefect server answers at http://127.0.0.1:9:")
    assert SECRET not in said


def test_a_stage_in_a_process_of_its_own_says_its_error_and_nothing_else(folder: Path) -> None:
    write_params(folder, paint={"systems": {"adabldm": 1.0}})
    project = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-m", "flows.train"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": project, "PREFECT_HOME": str(folder / ".cache" / "prefect")},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (EXIT_FAILED, "")
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "splits.json" in ended.stderr


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise DefectoryError("a.png: [empty]; give another")

    assert run_to_status(fail) == EXIT_FAILED
    assert capsys.readouterr() == ("", "error: a.png: [empty]; give another\n")


def test_a_full_disk_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "data/x.parquet")

    assert run_to_status(fail) == EXIT_FAILED
    assert "data/x.parquet: No space left on device; free some" in capsys.readouterr().err


def test_an_interrupt_says_that_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert run_to_status(interrupt) == EXIT_INTERRUPTED
    assert "goes on from there" in capsys.readouterr().err


def test_progress_in_a_log_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as report:
        for done in range(0, 101):
            report("painting samples", done, 100)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["painting samples: 0 of 100", "painting samples: 100 of 100"]


def test_durations_and_sizes_are_in_human_units() -> None:
    assert [duration(seconds) for seconds in (-1, 5.4, 89, 600, 7200)] == ["0 s", "5 s", "89 s", "10 min", "2.0 h"]
    assert [size(count) for count in (12, 1_500, 2_000_000, 3_100_000_000)] == ["12 B", "2 kB", "2 MB", "3.1 GB"]
