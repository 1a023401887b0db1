"""Every system on a pretend accelerator: nothing is mixed with the host's tensors, and the bytes are the host's.

Only the scores' last digits may differ: the scorer's resizing picks its kernel by the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.contracts import Image
from tasks.generation.line import Line, make, masks
from tasks.inputs.build import build_inputs
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.networks.device import HOST, device_of
from tasks.params import Params, load_params
from tasks.params.registry import SYSTEMS
from tasks.plan import plan_samples
from tasks.progress import silent
from tasks.synthesis.fitting import fit_systems
from tests import pretend_device
from tests.factory_fixtures import hashes, write_params, write_photographs

pytestmark = pytest.mark.usefixtures("deterministic")

PRETEND = torch.device(pretend_device.NAME, 0)
_TRAINING = {"steps": 2, "batch_size": 2, "pool_size": 4}
_PRIOR = {**_TRAINING, "window": 8, "width": 16, "layers": 1, "heads": 2}
TINY: dict[str, dict[str, Any]] = {
    "dataset": {"samples_per_category": 2, "threads": 1},
    "paint": {"batch_size": 2, "close_up_cells": 6},
    "adapt": {"kind": "closed_form"},
    "codec": {"fine_tune_steps": 2, "batch_size": 2, "crop": 32},
    "denoiser": {**_TRAINING, "channels": [32, 64]},
    "backbone": {**_TRAINING, "channels": [32, 64]},
    "adabldm": {"steps": 4},
    "anomalydiffusion": {"training": _TRAINING, "steps": 2, "reweight_attention": True},
    "anomalyany": {"steps": 3, "text_image_pool": 4, "text_image_steps": 2},
    "inpaint_lora": {"training": {**_TRAINING, "rank": 2}, "steps": 4, "start": 0.5, "candidates": 2},
    "sdas": {
        "model": {"space": "latent", "channels": [32, 64], "steps": 2, "batch_size": 2, "views_per_category": 4},
        "steps": 3,
    },
    "vq_transformer": {
        "codec": {"steps": 4, "batch_size": 2, "crop": 32, "codebook_size": 16, "discriminator_width": 8},
        "prior": _PRIOR,
        "mask_codec": {"steps": 2, "batch_size": 4, "codebook_size": 16},
        "mask_prior": _PRIOR,
    },
}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    **{name: {"paint": {"systems": {name: 1.0}}} for name in SYSTEMS},
    "sdas in pixels": {"paint": {"systems": {"sdas": 1.0}}, "sdas": {"model": {"space": "pixel"}}},
    "the published adaptation": {
        "paint": {"systems": {"adabldm": 1.0}},
        "adapt": {"kind": "published", "steps": 2},
    },
    "masks by textual inversion": {
        "paint": {"systems": {"adabldm": 1.0}},
        "masks": {"sources": {"learned": 1.0}, "learned_steps": 2, "learned_per_type": 2},
    },
}


@dataclass(frozen=True)
class Made:
    models: dict[str, str]
    """SHA-256 of what training leaves."""
    images: list[Image]
    scores: list[dict[str, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder)
    build_inputs(params_of(folder, {}), folder, folder / "inputs")
    return folder


def params_of(folder: Path, blocks: dict[str, dict[str, Any]]) -> Params:
    together = {name: {**TINY.get(name, {}), **blocks.get(name, {})} for name in {*TINY, *blocks}}
    if "sdas" in blocks:
        together["sdas"]["model"] = {**TINY["sdas"]["model"], **blocks["sdas"]["model"]}
    return load_params(write_params(folder, **together))


def made_on(device: torch.device, inputs: Inputs, params: Params, models: Path) -> Made:
    fit_systems(inputs, params, models, device, silent)
    line = Line(params, inputs, models, device)
    scored = make(line, masks(line, plan_samples(params, inputs)).places)
    assert len(scored.places) == len(plan_samples(params, inputs))
    return Made(hashes(models), list(scored.finished.images), [each.values for each in scored.scores])


@pytest.mark.parametrize("case", CASES)
def test_the_line_on_an_accelerator_gives_the_hosts_bytes(case: str, folder: Path, tmp_path: Path) -> None:
    params, inputs = params_of(folder, CASES[case]), read_inputs(folder / "inputs")
    expected = made_on(HOST, inputs, params, tmp_path / "host")
    found = made_on(PRETEND, inputs, params, tmp_path / "accelerator")
    assert found.models == expected.models
    assert all(np.array_equal(*pair) for pair in zip(found.images, expected.images, strict=True))
    for one, other in zip(found.scores, expected.scores, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-9, nan_ok=True)


def test_what_is_loaded_stands_on_the_device(folder: Path, tmp_path: Path) -> None:
    params, inputs = params_of(folder, CASES["adabldm"]), read_inputs(folder / "inputs")
    fit_systems(inputs, params, tmp_path, PRETEND, silent)
    line = Line(params, inputs, tmp_path, PRETEND)
    painted = line.portfolio.paint(masks(line, plan_samples(params, inputs)).places)
    assert {part.painted.latents.device for part in painted if part.painted.latents is not None} == {PRETEND}
    assert {device_of(part.painted.codec) for part in painted if part.painted.codec} == {PRETEND}
