"""Tier 0: how like an arm's defects are to the real ones that generators saw, and to one another.

In: synthetic arms and the train split's real defects. Out: KID and IC-LPIPS an arm, each named by its network. They
are printed because publications do; that they say little of an arm's worth is what the other tiers are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.detectors.protocol import Arm, Example
from tasks.quality.distribution import Features, kid_name, kid_of, network_features
from tasks.quality.ic_lpips import PROTOCOLS, ic_lpips

LIKENESS_NETWORK = "efficientnet_lite0"
PROTOCOL = "dfmgan"
"""Of IC-LPIPS, with AlexNet: a twentieth of VGG-16's time."""
_FEWEST = 4
"""Images on either side, for KID."""


@dataclass(frozen=True)
class Likeness:
    arm: str
    kid: tuple[float, float] | None
    """Mean and standard deviation over subsets; None for fewer than four real or synthetic defects."""
    ic_lpips: float | None
    """The mean over defect types; None where no type has a real defect and two synthetic ones."""

    @property
    def names(self) -> tuple[str, str]:
        """What the two figures are to be called."""
        return kid_name(LIKENESS_NETWORK), f"ic_lpips_{PROTOCOLS[PROTOCOL].network}_{PROTOCOL}"


def likenesses_of(arms: Sequence[Arm], real: Sequence[Example], device: torch.device) -> Iterator[Likeness]:
    """Of each arm, to the real train defects."""
    features = _features(real, device) if len(real) >= _FEWEST else None
    for arm in arms:
        enough = features is not None and len(arm.defects) >= _FEWEST
        yield Likeness(
            arm.name,
            kid_of(_features(arm.defects, device), features, seed=0) if features is not None and enough else None,
            _diversity(arm.defects, real, device),
        )


def _features(examples: Sequence[Example], device: torch.device) -> Features:
    return network_features([example.image for example in examples], LIKENESS_NETWORK, device)


def _diversity(synthetic: Sequence[Example], real: Sequence[Example], device: torch.device) -> float | None:
    values = []
    for defect_type in sorted({example.defect_type for example in real}):
        ones, others = (
            [example.image for example in side if example.defect_type == defect_type] for side in (synthetic, real)
        )
        values.append(ic_lpips(ones, others, PROTOCOLS[PROTOCOL], device=device).value if ones else float("nan"))
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None
