"""Has a sample been copied from a photograph? The nearest real image of the train split, by descriptors.

In: candidates' descriptors and those of the real images, which `generate` leaves beside the candidates. Out: for each
candidate the estimated LPIPS to its nearest real image, and which that is. A candidate is near the photograph it was
painted on by construction, so clean images of that object are left out; another defect, or another clean object, is not
near unless it was copied or the category's parts all look alike: it is read beside its median. It needs no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tasks.contracts import CLEAN
from tasks.files.products import is_made
from tasks.files.tables import read_table
from tasks.params import fingerprint
from tasks.quality.nearest import squared_distances

REAL_DESCRIPTORS = "real_descriptors.parquet"
REAL_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("image_id", "category", "defect_type", "group")),
        ("descriptor", pa.list_(pa.float16())),
    ]
)
_BLOCK = 1024


@dataclass(frozen=True)
class _Reals:
    """The real images of one category."""

    ids: NDArray[np.object_]
    cleans_by_group: dict[str, NDArray[np.intp]]
    group_of: dict[str, str]
    descriptors: NDArray[np.float64]


def made_from(inputs_sha256: str) -> str:
    """The fingerprint of the real images' descriptors."""
    return fingerprint("real descriptors 1", inputs_sha256)


def read_real_descriptors(candidates: Path, inputs_sha256: str) -> pd.DataFrame | None:
    """The table of `REAL_SCHEMA`; None where `generate` has not made it for these inputs."""
    path = candidates / REAL_DESCRIPTORS
    return read_table(path).to_pandas() if is_made(path, made_from(inputs_sha256)) else None


def nearest_real(scores: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """The columns nearest_real_lpips and nearest_real_id, a row for each of `scores` and with its index.

    `scores` has the columns category, clean_id and descriptor, which is missing for a failed sample: it has no nearest.
    Where the category has no real image but the sample's own, the distance is infinite and the id empty. Of equally
    near images the first by id is named.
    """
    distances, ids = np.full(len(scores), np.nan), np.full(len(scores), "", dtype=object)
    painted = scores[["category", "clean_id", "descriptor"]].reset_index(drop=True)
    for category, group in painted[painted["descriptor"].notna()].groupby("category", sort=False):
        reals = _reals_of(real[real["category"] == category])
        for start in range(0, len(group), _BLOCK):
            block = group.iloc[start : start + _BLOCK]
            distances[block.index], ids[block.index] = _nearest(block, reals)
    return pd.DataFrame({"nearest_real_lpips": distances, "nearest_real_id": ids}, index=scores.index)


def _reals_of(real: pd.DataFrame) -> _Reals:
    rows = real.sort_values("image_id", ignore_index=True)
    cleans = rows[rows["defect_type"] == CLEAN]
    return _Reals(
        ids=rows["image_id"].to_numpy(dtype=object),
        cleans_by_group={str(group): np.asarray(same.index) for group, same in cleans.groupby("group")},
        group_of=dict(zip(cleans["image_id"], cleans["group"], strict=True)),
        descriptors=np.array([*rows["descriptor"]], dtype=np.float64).reshape(len(rows), -1),
    )


def _nearest(samples: pd.DataFrame, reals: _Reals) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    if not len(reals.ids):
        return np.full(len(samples), np.inf), np.full(len(samples), "", dtype=object)
    between = squared_distances(np.stack(samples["descriptor"].to_list()).astype(np.float64), reals.descriptors)
    for row, own in _own_object(samples, reals):
        between[row, own] = np.inf
    nearest = between.argmin(axis=1)
    distances = between[np.arange(len(between)), nearest]
    return distances, np.where(np.isfinite(distances), reals.ids[nearest], "")


def _own_object(samples: pd.DataFrame, reals: _Reals) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each sample's place, and the clean images of the object it was painted on."""
    for row, clean_id in enumerate(samples["clean_id"]):
        if clean_id in reals.group_of:
            yield row, reals.cleans_by_group[reals.group_of[clean_id]]
