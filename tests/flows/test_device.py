"""The device: named once, found by every process, and refused before anything is read where it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import policy
from flows.cli import app
from flows.machines.workers import only
from flows.options import DEVICE_VARIABLE
from flows.terminal import EXIT_FAILED, EXIT_OK
from tests import stand_in
from tests.factory_fixtures import write_params, write_photographs

OTHER = "meta"
"""Torch has it everywhere, and it is never the best one."""
COMPUTING = (
    ("plan",),
    ("run",),
    ("resume",),
    ("evaluate",),
    ("publish",),
    ("remake", "brass-000000"),
    ("doctor",),
    ("generate",),
    ("collect", "--store", "s3://bucket/x"),
    ("fan-out", "--store", "s3://bucket/x"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and an environment that names no device."""
    monkeypatch.setenv(DEVICE_VARIABLE, "")  # so that what a verb puts there is taken away again
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def params(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in.register(monkeypatch)
    write_photographs(folder)
    return write_params(folder)


def defectory(*arguments: str) -> tuple[int, str, str]:
    """Exit status, what was printed, and what was said on the error stream."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("verb", COMPUTING, ids=lambda verb: verb[0])
def test_a_device_that_is_not_there_ends_a_verb_in_one_line_before_it_reads(verb: tuple[str, ...]) -> None:
    status, said, error = defectory(*verb, "--device", "nowhere")
    assert (status, said) == (EXIT_FAILED, "")
    assert error.startswith("error: device 'nowhere': ")
    assert error.count("\n") == 1
    assert error.endswith("such as cpu\n")


def test_the_environment_names_it_too_and_the_option_goes_first(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "nowhere")
    assert defectory("plan")[2].startswith("error: device 'nowhere': ")
    assert defectory("plan", "--device", "cpu")[0] == EXIT_OK


def test_the_plan_says_which_device_it_would_be(params: Path) -> None:
    status, said, _ = defectory("plan", "--device", "cpu")
    assert status == EXIT_OK
    assert said.splitlines()[-1] == "device: cpu"


def test_the_doctor_says_which_device_it_would_be(params: Path) -> None:
    assert "ok   device: cpu" in defectory("doctor", "--device", "cpu")[1].splitlines()


def test_programs_that_a_verb_starts_find_the_device(params: Path) -> None:
    defectory("plan", "--device", OTHER)
    assert str(policy.device()) == OTHER
    look = "from flows.policy import device; print(device())"
    project = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", look], env={**os.environ, "PYTHONPATH": project}, capture_output=True, text=True
    )
    assert ended.stdout.strip() == OTHER


@pytest.mark.parametrize(
    ("device", "environment"),
    [
        ("1", {DEVICE_VARIABLE: "cuda", "CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:1", {DEVICE_VARIABLE: "cuda", "CUDA_VISIBLE_DEVICES": "1"}),
        ("GPU-8932f937", {DEVICE_VARIABLE: "cuda", "CUDA_VISIBLE_DEVICES": "GPU-8932f937"}),
        ("cuda", {DEVICE_VARIABLE: "cuda"}),
        ("cpu", {DEVICE_VARIABLE: "cpu", "CUDA_VISIBLE_DEVICES": ""}),
        ("mps", {DEVICE_VARIABLE: "mps", "CUDA_VISIBLE_DEVICES": ""}),
        ("", {DEVICE_VARIABLE: ""}),
    ],
)
def test_a_worker_sees_its_device_alone(device: str, environment: dict[str, str]) -> None:
    assert only(device) == environment
