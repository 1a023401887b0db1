"""The gate's look at the scores of whole categories: each against the minimum that the params set for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.params import Params


def score_problems(folder: Path, params: Params) -> Iterator[str]:
    """One line a category and score below its minimum; a score that a category does not have is below every one."""
    limits = {name: limit for name, limit in params.select.min_category_scores.items() if limit > 0}
    if not limits:
        return
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for category, figures in metrics["categories"].items():
        for name, limit in sorted(limits.items()):
            asked = f"select.min_category_scores asks for at least {limit:g}"
            if figures.get(name) is None:
                yield f"category {category} has no {name}, where {asked}: {_why(name, figures, params)}"
            elif figures[name] < limit:
                yield (
                    f"category {category} has the {name} {figures[name]:g}, where {asked}; "
                    "look at its sheet, then change the minimum or the painting"
                )


def _why(name: str, figures: dict[str, Any], params: Params) -> str:
    if name.startswith("is_") and name != f"is_{params.score.classifier}":
        return f"score.classifier is {params.score.classifier}; name its score, or score with the other network"
    if not figures["accepted"]:
        return "none of its samples was accepted"
    return "it takes a real defect of the train split with two accepted samples of its type nearest to it"
