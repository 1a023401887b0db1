"""A synthesis system that the project does not know: it fills the mask with one grey level, and tells what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from tasks.contracts import Place
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.params import Params, fingerprint
from tasks.params.blocks import Count
from tasks.params.systems import SystemParams
from tasks.progress import Report
from tasks.synthesis.protocol import Painted

PRODUCT = "toy.txt"


class ToyParams(SystemParams):
    level: Annotated[int, Field(ge=0, le=255)] = 128
    """The grey."""
    steps: Count = 100
    """Of a training that it only pretends."""


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    made_from = fingerprint("toy", params.of(ToyParams).steps, inputs.sha256)
    if not is_made(workdir / PRODUCT, made_from):
        (workdir / PRODUCT).write_text(inputs.sha256, encoding="ascii")
        mark_made(workdir / PRODUCT, made_from)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> str:
    return (workdir / PRODUCT).read_text(encoding="ascii")


def paint(model: str, places: Sequence[Place], params: Params) -> Painted:
    level = params.of(ToyParams).level
    shape = (len(places), 3, *places[0].mask.shape)
    prompts = [f"a {place.spec.category} with a {place.spec.defect_type}, {level}" for place in places]
    return Painted(images=torch.full(shape, level / 127.5 - 1), prompts=prompts)
