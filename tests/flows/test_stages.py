"""dvc.yaml: which stage does which change of the params make again?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.resolve import resolve
from flows.versions.repository import RESOLVED
from tests import stand_in
from tests.factory_fixtures import write_params, write_photographs

STAGES = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in.register(monkeypatch)
    write_photographs(tmp_path)
    return tmp_path


def compared(folder: Path, **blocks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By stage, the values that dvc compares for it under these params."""
    resolve(write_params(folder, **blocks), folder / RESOLVED)
    resolved = json.loads((folder / RESOLVED).read_text(encoding="utf-8"))
    keys = {name: stage["params"][0][RESOLVED] for name, stage in STAGES.items() if "params" in stage}
    return {name: {key: _at(resolved, key) for key in listed} for name, listed in keys.items()}


def _at(block: Any, key: str) -> Any:
    for part in key.split("."):
        block = block[part]
    return block


def changed(folder: Path, **blocks: dict[str, Any]) -> set[str]:
    """The stages whose own values a change of the params changes; those after them follow by their data."""
    before, after = compared(folder), compared(folder, **blocks)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("blocks", "stages"),
    [
        ({"select": {"max_seam_contrast": 2.0}}, {"release", "evaluate"}),
        ({"select": {"max_failed_share": 0.5}}, {"generate", "release", "evaluate"}),
        ({"adapt": {"kind": "closed_form"}}, {"generate", "evaluate"}),
        ({"paint": {"close_up_cells": 3}}, {"train", "generate", "evaluate"}),
        ({"inputs": {"near_duplicate_distance": 0.2}}, {"inputs", "evaluate"}),
        ({"evaluate": {"seeds": 2}}, {"evaluate"}),
    ],
    ids=lambda given: json.dumps(given) if isinstance(given, dict) else "",
)
def test_a_change_makes_the_stages_again_in_which_it_acts(
    folder: Path, blocks: dict[str, dict[str, Any]], stages: set[str]
) -> None:
    assert changed(folder, **blocks) == stages
