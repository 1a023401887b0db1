"""What every block of params is made of: strict, frozen, and nothing unknown in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


def _check_prompt(template: str) -> str:
    try:
        template.format(category="", defect_type="")
    except (LookupError, ValueError):
        raise ValueError("a prompt may hold {category} and {defect_type}, and no other braces") from None
    return template


Prompt = Annotated[str, AfterValidator(_check_prompt)]
"""A template of the words for one category and defect type."""


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrainingBlock(Block):
    """What the training loop reads; a block says where its own defaults differ."""

    steps: Count = 500
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    checkpoint_every: Count = 100


class AveragedTrainingBlock(TrainingBlock):
    """Of a training that keeps the moving average of the weights."""

    ema_decay: Share = 0.99


class PoolTrainingBlock(AveragedTrainingBlock):
    """Of a training on a pool of augmented and composited images, encoded once before it begins."""

    pool_size: Count = 600
    """Images of the pool."""
    composite_share: Share = 0.5
    """Of its defective images, those made by pasting a real defect on a clean image."""
