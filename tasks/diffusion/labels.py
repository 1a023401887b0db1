"""The table of labels a denoiser is conditioned on: one for each category and defect type, clean included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.contracts import CLEAN, DefectoryError


@dataclass(frozen=True)
class LabelTable:
    """Pairs (category, defect type) in sorted order; a pair's place is its label."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> LabelTable:
        """The table of the given pairs; every category gets its clean label."""
        given = set(pairs)
        return cls(tuple(sorted(given | {(category, CLEAN) for category, _ in given})))

    def index(self, category: str, defect_type: str) -> int:
        try:
            return self.pairs.index((category, defect_type))
        except ValueError:
            raise DefectoryError(
                f"the model was not trained on {category}/{defect_type}; "
                f"it knows {', '.join('/'.join(pair) for pair in self.pairs)}; train again with these inputs"
            ) from None

    def __len__(self) -> int:
        return len(self.pairs)
