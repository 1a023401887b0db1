"""The release's figures: how many samples by category and rule, and what they score.

In: judged candidates. Out: plain numbers, rounded so that libraries' last bits do not show, and nothing that differs
between two runs of the same params; measured time is therefore elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.params import Params
from tasks.shards.ledger import ACCEPTED, FAILED, REJECTED

MEDIANS = ("lpips_to_clean", "lpips_inside", "change_inside", "seam_contrast", "effective_share", "nearest_lpips")
"""The scores whose median over the accepted samples is reported."""

_IMAGES_A_SPLIT = 100
_MOST_SPLITS = 10
_SPLIT_SEED = 0
_DECIMALS = 4

LogitsOf = Callable[[pd.DataFrame], NDArray[np.float16]]
"""The logits (n, classes) of a table of n samples."""


def build_metrics(params: Params, judged: pd.DataFrame, skipped: int, logits_of: LogitsOf) -> dict[str, Any]:
    """What metrics.json holds: the figures of the whole release, then the same by category.

    `judged` is the candidates' scores with `status`, `rule`, `nearest_lpips` and `effective_share`.
    """
    categories = {
        str(category): _figures(params, group, logits_of) for category, group in judged.groupby("category", sort=True)
    }
    whole = _figures(params, judged, logits_of)
    return {"dataset": params.dataset.name, "skipped_inputs": skipped, **whole, "categories": categories}


def score_key(params: Params) -> str:
    """The Inception score's name, which is its network's: `is_efficientnet_lite0` is no `is_inception_v3`."""
    return f"is_{params.score.classifier}"


def _figures(params: Params, judged: pd.DataFrame, logits_of: LogitsOf) -> dict[str, Any]:
    accepted = judged[judged["status"] == ACCEPTED]
    rules = judged.loc[judged["status"] == REJECTED, "rule"].value_counts().sort_index()
    counts = {status: int((judged["status"] == status).sum()) for status in (ACCEPTED, REJECTED, FAILED)}
    medians = {f"{name}_median": _rounded(_finite(accepted[name]).median()) for name in MEDIANS}
    rejected_by = {str(rule): int(count) for rule, count in rules.items()}
    scores = _inception(params, accepted, logits_of)
    return {"planned": len(judged), **counts, "rejected_by": rejected_by, **scores, **medians}


def _inception(params: Params, accepted: pd.DataFrame, logits_of: LogitsOf) -> dict[str, float | int | None]:
    """Mean and standard deviation, and over how many splits; ten as is usual, fewer where there are few images."""
    key = score_key(params)
    if accepted.empty:
        return {key: None, f"{key}_std": None, f"{key}_splits": 0}
    # Imported here because it brings torch, which nothing else of a release needs.
    from tasks.quality.inception import inception_score

    splits = min(_MOST_SPLITS, max(1, len(accepted) // _IMAGES_A_SPLIT))
    mean, deviation = inception_score(logits_of(accepted), splits, _SPLIT_SEED)
    return {key: _rounded(mean), f"{key}_std": _rounded(deviation) if splits > 1 else None, f"{key}_splits": splits}


def _finite(values: pd.Series) -> pd.Series:
    return values.replace([np.inf, -np.inf], np.nan)


def _rounded(value: float) -> float | None:
    return round(float(value), _DECIMALS) if np.isfinite(value) else None
