"""The release's figures: how many samples by category and rule, and what they score.

In: judged candidates. Out: plain numbers, rounded so that libraries' last bits do not show, and nothing that differs
between two runs of the same params; measured time is therefore elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.params import Params
from tasks.quality.inception_score import InceptionScore, predictions_of
from tasks.release.manifest import ACCEPTED, FAILED, REJECTED

MEDIANS = (
    "lpips_to_clean",
    "lpips_inside",
    "change_inside",
    "seam_contrast",
    "effective_share",
    "nearest_lpips",
    "nearest_real_lpips",
)
"""The scores whose median over the accepted samples is reported."""

_IMAGES_A_SPLIT = 100
_MOST_SPLITS = 10
_SPLIT_SEED = 0
_DECIMALS = 4
_WHOLE = ""
"""The whole release among the categories, none of which has this name."""

MetricValues = dict[str, float | int | None]

LogitsOf = Callable[[pd.DataFrame], NDArray[np.float16]]
"""The logits (n, classes) of a table of n samples, which are all of one shard."""


def build_metrics(
    params: Params,
    judged: pd.DataFrame,
    skipped: int,
    logits_of: LogitsOf,
    diversity: Mapping[str, Mapping[str, float | int | None]] | None = None,
) -> dict[str, Any]:
    """What metrics.json holds: the figures of the whole release, then the same by category.

    `judged` is the candidates' scores with `status`, `rule`, `nearest_lpips`, `nearest_real_lpips` and
    `effective_share`. `diversity` is further figures of categories, as `tasks.release.diversity` has them.
    """
    inception = _inception(params, judged[judged["status"] == ACCEPTED], logits_of)
    categories = {
        str(category): _figures(group, inception[str(category)]) | dict((diversity or {}).get(str(category), {}))
        for category, group in judged.groupby("category", sort=True)
    }
    whole = _figures(judged, inception[_WHOLE])
    return {"dataset": params.dataset.name, "skipped_inputs": skipped, **whole, "categories": categories}


def score_key(params: Params) -> str:
    """The Inception score's name, which is its network's: `is_efficientnet_lite0` is no `is_inception_v3`."""
    return f"is_{params.score.classifier}"


def _figures(judged: pd.DataFrame, inception: MetricValues) -> dict[str, Any]:
    accepted = judged[judged["status"] == ACCEPTED]
    rules = judged.loc[judged["status"] == REJECTED, "rule"].value_counts().sort_index()
    counts = {status: int((judged["status"] == status).sum()) for status in (ACCEPTED, REJECTED, FAILED)}
    medians = {f"{name}_median": rounded(_finite(accepted[name]).median()) for name in MEDIANS}
    rejected_by = {str(rule): int(count) for rule, count in rules.items()}
    return {"planned": len(judged), **counts, "rejected_by": rejected_by, **inception, **medians}


def _inception(params: Params, accepted: pd.DataFrame, logits_of: LogitsOf) -> dict[str, MetricValues]:
    """By category, and of the whole: mean, standard deviation, and over how many splits; None without a classifier.

    Ten splits as is usual, fewer where there are few images. A shard's logits are read once and dropped.
    """
    key = score_key(params)
    none: MetricValues = {key: None, f"{key}_std": None, f"{key}_splits": 0}
    if params.score.classifier == "none":
        return defaultdict(lambda: none)
    sizes = {str(name): count for name, count in accepted["category"].value_counts().items()} if len(accepted) else {}
    scores = {name: _score_of(count) for name, count in [*sizes.items(), (_WHOLE, len(accepted))] if count}
    for _, samples in accepted.groupby("shard", sort=True) if len(accepted) else ():
        predictions = predictions_of(logits_of(samples))
        scores[str(samples["category"].iloc[0])].add(predictions)
        scores[_WHOLE].add(predictions)
    found: dict[str, MetricValues] = defaultdict(lambda: none)
    for name, score in scores.items():
        mean, deviation = score.result()
        std = rounded(deviation) if score.splits > 1 else None
        found[name] = {key: rounded(mean), f"{key}_std": std, f"{key}_splits": score.splits}
    return found


def _score_of(images: int) -> InceptionScore:
    return InceptionScore(images, min(_MOST_SPLITS, max(1, images // _IMAGES_A_SPLIT)), _SPLIT_SEED)


def _finite(values: pd.Series) -> pd.Series:
    return values.replace([np.inf, -np.inf], np.nan)


def rounded(value: float) -> float | None:
    """As metrics.json has it: four decimals, and None for what is not a number."""
    return round(float(value), _DECIMALS) if np.isfinite(value) else None
