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
