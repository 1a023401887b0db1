"""Which candidates are accepted: the rules on their scores, in their order.

In: finished candidates and the thresholds. Out: each one's verdict, with the rule and the value that rejected it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.candidates.read import read_scores
from tasks.contracts import DefectoryError, ShardPlan
from tasks.params import Params
from tasks.quality.nearest_real import nearest_real
from tasks.quality.select import COPY_MEASURE, judge_rows
from tasks.release.manifest import ACCEPTED

_REPEATED = ("clean_id", "clean_sha256", "license", "source", "prompt", "model_sha256", "params_fingerprint")
"""Long texts that many samples share, each of which is held once."""


def judge_candidates(
    candidates: Path, plans: Sequence[ShardPlan], params: Params, real: pd.DataFrame | None
) -> pd.DataFrame:
    """The scores of all shards as `judge_scores` has them, but without descriptors.

    They are read and judged a category at a time: selection compares samples of one category only, and descriptors are
    more than all other scores together.
    """
    by_category = groupby(sorted(plans, key=attrgetter("category")), attrgetter("category"))
    judged = [_judged(candidates, list(shards), params, real) for _, shards in by_category]
    return pa.concat_tables(judged, promote_options="permissive").unify_dictionaries().to_pandas()


def _judged(candidates: Path, shards: list[ShardPlan], params: Params, real: pd.DataFrame | None) -> pa.Table:
    judged = judge_scores(read_scores(candidates, shards), params, real).drop(columns="descriptor")
    table = pa.Table.from_pandas(judged, preserve_index=False)
    for name in _REPEATED:
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    return table


def judge_scores(scores: pd.DataFrame, params: Params, real: pd.DataFrame | None) -> pd.DataFrame:
    """The scores by category and index, with the nearest real image and what selection decided.

    `scores` has all samples of each of its categories.
    """
    ordered = scores.sort_values(["category", "index"], kind="stable", ignore_index=True)
    if real is None and params.select.min_nearest_real_lpips > 0:
        raise DefectoryError(
            "select.min_nearest_real_lpips compares with descriptors of the real images, and these inputs have none "
            "beside the candidates; run `defectory resume`, which makes them, then release again"
        )
    nearest = {COPY_MEASURE: np.nan, "nearest_real_id": ""} if real is None else nearest_real(ordered, real)
    ordered = ordered.assign(**nearest)
    verdicts = judge_rows(ordered, params.select)
    # Selection reports this distance as the value of an accepted sample and of one that was rejected for it.
    by_distance = (verdicts["status"] == ACCEPTED) | (verdicts["rule"] == "min_nearest_lpips")
    return ordered.assign(
        **verdicts,
        nearest_lpips=verdicts["value"].where(by_distance),
    )
