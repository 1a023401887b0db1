"""The `evaluate` block of params.yaml: how a dataset's worth is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.blocks import Block, Count, Positive, Share


class DetectorParams(Block):
    arms: list[str] = []
    """The arms that it is trained on, by name; empty: all."""

    def takes(self, arm: str) -> bool:
        return not self.arms or arm in self.arms


class ProbeParams(DetectorParams):
    """Tier 1: a linear probe on frozen features."""

    normal_cells: Count = 40000
    """Feature cells of normal images that are trained on, at most, drawn at random."""
    defect_cells: Count = 20000
    """The same of cells inside defects' masks."""
    regularisation: Positive = 1.0
    """scikit-learn's C: the inverse of the strength."""


class LocaliserParams(DetectorParams):
    """Tier 2: DRAEM's segmentation U-Net (AnomalyDiffusion's protocol), trained from scratch."""

    width: Count = 16
    """Channels of the first level; the papers' is 64."""
    steps: Count = 2000
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    defect_share: Share = 0.5
    """Of the images of a batch; the others are normal."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the convolutions: bfloat16 is faster where the processor has instructions for it."""


class ClassifierParams(DetectorParams):
    """Tier 2: a network trained on ImageNet learns to tell defect types apart."""

    steps: Count = 400
    batch_size: Count = 8
    learning_rate: Positive = 1e-4


class EvaluateParams(Block):
    tiers: list[Annotated[int, Field(ge=0, le=2)]] = [0, 1]
    """0: validity and difficulty, seconds. 1: the probe, minutes. 2: networks trained from scratch, hours."""
    image_size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    """Pixels a side at which detectors are trained and tested, and metrics computed."""
    samples: Count = 500
    """Synthetic images of an arm, at most, chosen by hash."""
    seeds: Annotated[int, Field(ge=1, le=20)] = 3
    """Trainings of each arm; the figures are their means."""
    resamples: Count = 1000
    """Of the bootstrap over test images."""
    level: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Of the intervals."""
    probe: ProbeParams = ProbeParams()
    localiser: LocaliserParams = LocaliserParams()
    classifier: ClassifierParams = ClassifierParams()
