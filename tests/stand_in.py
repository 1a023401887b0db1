"""A synthesis system without a model, for tests of the line around it: it darkens what is inside the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tasks import synthesis
from tasks.contracts import Image, InputImage, Mask, SampleSpec
from tasks.inputs.store import Inputs
from tasks.params import Params
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.protocol import Painted

NAME = "stand_in"

before_painting: list[Callable[[Sequence[SampleSpec]], None]] = []
"""What tests want to happen at the start of `paint`."""


@dataclass(frozen=True)
class Model:
    sha256: str


def register(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(synthesis.SYSTEMS, NAME, __name__)


@contextmanager
def painting(hook: Callable[[Sequence[SampleSpec]], None]) -> Iterator[None]:
    before_painting.append(hook)
    try:
        yield
    finally:
        before_painting.remove(hook)


def fit(inputs: Inputs, params: Params, workdir: Path, report: Report) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "model.txt").write_text(inputs.sha256, encoding="ascii")
    report("training", 1, 1)


def load(inputs: Inputs, params: Params, workdir: Path) -> Model:
    return Model((workdir / "model.txt").read_text(encoding="ascii"))


def paint(
    model: Model, specs: Sequence[SampleSpec], cleans: Sequence[InputImage], masks: Sequence[Mask], params: Params
) -> Painted:
    for hook in before_painting:
        hook(specs)
    images = [_darken(spec, clean.image) for spec, clean in zip(specs, cleans, strict=True)]
    return Painted(None, torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1)


def finish(
    model: Model, painted: Painted, cleans: Sequence[InputImage], masks: Sequence[Mask], params: Params
) -> list[Image]:
    assert painted.images is not None
    levels = ((painted.images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [
        np.where(mask[..., None], image, clean.image) for image, clean, mask in zip(levels, cleans, masks, strict=True)
    ]


def _darken(spec: SampleSpec, clean: Image) -> NDArray[np.float32]:
    share = numpy_generator(derive(spec.seed, "paint")).uniform(0.1, 0.4, clean.shape)
    return (clean * share).astype(np.float32)
