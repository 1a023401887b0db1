"""How large everything is: the real sizes, and small ones with which the same code runs on a processor in minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Of a run. Shares of training are of the steps that the params have by default."""

    matrix: int
    """Rows and columns of the matrices that are multiplied."""
    copied_bytes: int
    side: int
    """Pixels a side of the images that the embedded backbones paint."""
    shards: int
    shard_size: int
    batch: int
    """Samples painted at once."""
    batches: tuple[int, ...]
    """Numbers of samples painted at once, to be compared."""
    training_share: float
    """Of the embedded networks: enough for pictures that can be looked at."""
    pool: int
    """Training images that are composed for each product."""
    narrow: bool
    """Whether the embedded networks are narrowed and their chains cut short."""
    pretrained_sides: tuple[int, ...]
    """Pixels a side of the images that the Stable Diffusion type of backbone paints, the most important first."""
    pretrained_steps: int
    """Of each training of that type."""
    pretrained_batch: int
    guided_batch: int
    """Samples painted at once by the system that needs gradients for it."""
    repeats: int
    """Timings of which the median is taken."""
    compiler: str
    """A backend of torch.compile."""


REAL = Sizes(
    matrix=8192,
    copied_bytes=4 << 30,
    side=256,
    shards=4,
    shard_size=24,
    batch=24,
    batches=(1, 12, 48, 96),
    training_share=0.4,
    pool=400,
    narrow=False,
    pretrained_sides=(512, 256),
    pretrained_steps=16,
    pretrained_batch=16,
    guided_batch=4,
    repeats=10,
    compiler="inductor",
)

SMALL = Sizes(
    matrix=128,
    copied_bytes=1 << 20,
    side=64,
    shards=2,
    shard_size=2,
    batch=2,
    batches=(1, 2),
    training_share=0.0,
    pool=8,
    narrow=True,
    pretrained_sides=(64,),
    pretrained_steps=4,
    pretrained_batch=2,
    guided_batch=1,
    repeats=2,
    compiler="eager",
)
