"""A synthesis system without a model, for tests of the line around it: it darkens what is inside the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tasks.contracts import Image, Place, SampleSpec
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.params import Params, fingerprint, registry
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.protocol import Painted

NAME, PRODUCT = "stand_in", "model.txt"

before_painting: list[Callable[[Sequence[SampleSpec]], None]] = []
"""What tests want to happen at the start of `paint`."""


def register(patch: pytest.MonkeyPatch) -> None:
    entry = registry.Entry(__name__, "tasks.params.systems:SystemParams", products=(PRODUCT,))
    patch.setitem(registry.SYSTEMS, NAME, entry)


@contextmanager
def painting(hook: Callable[[Sequence[SampleSpec]], None]) -> Iterator[None]:
    before_painting.append(hook)
    try:
        yield
    finally:
        before_painting.remove(hook)


def fit(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    made_from = fingerprint("stand-in", inputs.sha256)
    if not is_made(workdir / PRODUCT, made_from):
        (workdir / PRODUCT).write_text(inputs.sha256, encoding="ascii")
        mark_made(workdir / PRODUCT, made_from)
        report("training", 1, 1)


def load(inputs: Inputs, params: Params, workdir: Path, device: torch.device) -> str:
    return (workdir / PRODUCT).read_text(encoding="ascii")


def paint(model: str, places: Sequence[Place], params: Params) -> Painted:
    for hook in before_painting:
        hook([place.spec for place in places])
    images = [_darken(place.spec, place.clean.image) for place in places]
    return Painted(images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1)


def _darken(spec: SampleSpec, clean: Image) -> NDArray[np.float32]:
    share = numpy_generator(derive(spec.seed, "paint")).uniform(0.1, 0.4, clean.shape)
    return (clean * share).astype(np.float32)
