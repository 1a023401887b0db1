"""The protocol of a synthesis system: `fit`, `load`, `paint`.

The line around a system (masks, the magnified view of small defects, decoder adaptation and pasting, scores, shards,
release) is the same for all. Adding one is a file or folder here, an entry in `tasks/params/registry.py`, which names
its module and the class of its block in params.yaml, and one test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.contracts import Place
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.progress import Report

if TYPE_CHECKING:  # the registry is read where neither torch nor diffusers is needed
    from torch import Tensor, device

    from tasks.diffusion.codec import Codec


@dataclass(frozen=True)
class Painted:
    """What a system made of n places, before it is fitted into the clean images: latents or images, never both."""

    latents: Tensor | None = None
    """(n, channels, h, w), decoded with online adaptation."""
    codec: Codec | None = None
    """That decodes the latents."""
    exemplars: Tensor | None = None
    """(n, 3, height, width) in [-1, 1], real defects in the masks that the latents follow, where there are."""
    images: Tensor | None = None
    """(n, 3, height, width) in [-1, 1], of a system that paints pixels."""
    prompts: Sequence[str] | None = None
    """What the system was told in words, by place; None for one that reads no text."""


class System(Protocol):
    """A synthesis system; a module with these functions is one."""

    def fit(self, inputs: Inputs, params: Params, workdir: Path, device: device, report: Report) -> None:
        """Train or fetch what the system needs into `workdir`. Resumable; what is there already is not made again."""

    def load(self, inputs: Inputs, params: Params, workdir: Path, device: device) -> Any:
        """The model that `fit` left, on the device, where it then paints.

        Raises DefectoryError where it has not finished.
        """

    def paint(self, model: Any, places: Sequence[Place], params: Params) -> Painted:
        """Paint a defect of each spec's type and strength on each clean image. All randomness is the specs' seeds'."""


def full_batches(places: Sequence[Place], size: int) -> Iterator[tuple[list[Place], int]]:
    """Batches of exactly `size` places, a last short one filled up by repeating, each with the number that counts.

    The batch's shape so is always the same, and with it the order of floating-point sums.
    """
    for start in range(0, len(places), size):
        batch = list(places[start : start + size])
        yield batch + batch[-1:] * (size - len(batch)), len(batch)
