"""The protocol of a synthesis system: `fit`, `load`, `paint`, `finish`.

The line around a system (masks, scores, shards, release) is the same for all; adding one is a file here, a line in the
registry and a block in params.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from tasks.contracts import Image, InputImage, Mask, SampleSpec
from tasks.inputs.store import Inputs
from tasks.params import Params
from tasks.progress import Report


@dataclass(frozen=True)
class Painted:
    """What a system made of n places, before it is fitted into the clean images."""

    latents: Tensor | None
    """(n, channels, h, w); None for a system without a codec."""
    images: Tensor | None
    """(n, 3, height, width) in [-1, 1]; None where decoding is left to `finish`."""


class System(Protocol):
    """A synthesis system; a module with these functions is one."""

    def fit(self, inputs: Inputs, params: Params, workdir: Path, report: Report) -> None:
        """Train or fetch what the system needs into `workdir`. Resumable; what is there already is not made again."""

    def load(self, inputs: Inputs, params: Params, workdir: Path) -> Any:
        """The model that `fit` left. It has `sha256`, of everything in it that touches a sample's bytes."""

    def paint(
        self,
        model: Any,
        specs: Sequence[SampleSpec],
        cleans: Sequence[InputImage],
        masks: Sequence[Mask],
        params: Params,
    ) -> Painted:
        """Paint a defect of each spec's type and strength on each clean image. All randomness is the specs' seeds'."""

    def finish(
        self,
        model: Any,
        painted: Painted,
        cleans: Sequence[InputImage],
        masks: Sequence[Mask],
        params: Params,
    ) -> list[Image]:
        """Decode, adapt and paste: beyond the mask and its feather ring each image equals its clean one."""
