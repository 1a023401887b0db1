"""What a process of the project starts with, as the libraries themselves report it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("chosen", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_wants_otherwise(chosen: dict[str, str], expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = {**inherited, **chosen, "OMP_DISPLAY_ENV": "true"}
    command = [sys.executable, "-c", "import flows, torch"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{expected}'" in process.stderr, "OpenMP was loaded before its settings stood"
