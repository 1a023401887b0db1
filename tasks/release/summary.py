"""All that the texts of a release say, gathered once: the card and the report only lay it out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.contracts import SkippedInput
from tasks.params import Params, fingerprint


@dataclass(frozen=True)
class SourceFacts:
    """One source of clean images, as far as released samples were painted on them."""

    source: str
    license: str
    category: str
    cleans: int
    samples: int


@dataclass(frozen=True)
class Facts:
    """A release in numbers and words."""

    params: Params
    command: str
    """What made the release, to be typed again."""
    metrics: dict[str, Any]
    """See `tasks.release.metrics.build_metrics`."""
    judged: pd.DataFrame
    """The candidates' scores with `status`, `rule`, `value`, `nearest_lpips` and `effective_share`."""
    sources: tuple[SourceFacts, ...]
    skipped: tuple[SkippedInput, ...]
    warnings: tuple[str, ...]
    pseudo_masks: Path
    """A file that is there where masks had to be estimated for images that carry an image label only."""

    @property
    def pseudo(self) -> bool:
        return self.pseudo_masks.is_file()

    @property
    def params_fingerprint(self) -> str:
        return fingerprint(self.params)

    @property
    def licenses(self) -> list[str]:
        return sorted({source.license for source in self.sources})

    @property
    def non_commercial(self) -> bool:
        return any("NC" in re.split(r"[-_ ]", name.upper()) for name in self.licenses)

    @property
    def rules(self) -> list[str]:
        return list(self.metrics["rejected_by"])


def sources_of(made: pd.DataFrame) -> tuple[SourceFacts, ...]:
    """The sources of a table of samples with the columns source, license, category and clean_id, sorted."""
    groups = made.groupby(["source", "license", "category"], sort=True)
    return tuple(
        SourceFacts(str(source), str(license_name), str(category), int(group["clean_id"].nunique()), len(group))
        for (source, license_name, category), group in groups
    )
