"""What every block of params is made of: strict, frozen, and nothing unknown in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
