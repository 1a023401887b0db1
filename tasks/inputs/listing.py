"""The nouns of the readers: photographs that a source offers, none of them opened yet.

A listing is cheap, and names, physical objects and `limit` must see all photographs of a label at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.contracts import CLEAN, SkippedInput
from tasks.params import SourceParams


@dataclass(frozen=True)
class ListedImage:
    """A photograph with its label, not yet opened."""

    file: Path
    path: str
    """Relative to the source's root, with '/' between folders."""
    category: str
    defect_type: str
    mask_file: Path | None = None
    held_out: bool = False
    """The source has set it aside for testing."""
    name: str = ""
    """Unique within its category and defect type."""
    physical_object: str = ""
    """Equal for photographs of one object; unique where the source has no group rule."""

    @property
    def label(self) -> tuple[str, str]:
        return self.category, self.defect_type

    @property
    def is_clean(self) -> bool:
        return self.defect_type == CLEAN

    @property
    def image_id(self) -> str:
        return f"{self.category}/{self.defect_type}/{self.name}"


@dataclass(frozen=True)
class Listing:
    """All that one source offers."""

    source: SourceParams
    images: tuple[ListedImage, ...]
    skipped: tuple[SkippedInput, ...] = ()
    warnings: tuple[str, ...] = ()


def source_name(source: SourceParams) -> str:
    """How a source is called on rows and in messages: its kind and the last folder of its root."""
    return f"{source.kind}:{Path(source.root).name}" if source.root else source.kind
