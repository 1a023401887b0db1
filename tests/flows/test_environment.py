"""What a process of the project starts with, as the libraries themselves report it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_soon_sleep_while_they_wait_unless_the_user_has_chosen(chosen: dict[str, str], expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment = {**inherited, **chosen, "OMP_DISPLAY_ENV": "verbose"}
    command = [sys.executable, "-c", "import flows, torch"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{expected}'" in process.stderr, "OpenMP was loaded before its settings stood"
