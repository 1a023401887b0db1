"""What a system painted, fitted into the clean images as the line does it, without real patches."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.contracts import Image, Place
from tasks.generation.portfolio import decode, paste_all
from tasks.params import AdaptParams
from tasks.synthesis.protocol import Painted


def fit_in(painted: Painted, places: Sequence[Place], params: AdaptParams) -> list[Image]:
    return paste_all(decode(painted, places, params), places, params.feather)
