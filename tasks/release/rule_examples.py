"""What each rule rejects, and the samples on both sides of its threshold, so that a person can set it by looking.

In: judged candidates and their pictures. Out: for each rule two counts and a few pictures: those it rejected and those
that were accepted, nearest to the threshold first. The choice is by the value, and among equal ones by a hash of the
names; their number does not grow with the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import PIL.Image
from scipy import ndimage
from skimage.segmentation import find_boundaries

from tasks.candidates.read import read_candidate_pictures, read_descriptors
from tasks.contracts import Image, Mask
from tasks.files.pictures import decode_image, decode_mask
from tasks.params import SelectParams
from tasks.quality.nearest import squared_distances
from tasks.quality.select import COPY_MEASURE, COPY_RULE, RULES, meets
from tasks.release.manifest import ACCEPTED, FAILED
from tasks.seeds import choose

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs

_SHOWN = 6
_SIDE, _GAP = 128, 3
_OUTLINE = (255, 0, 200)
"""Magenta, which hardly any part has."""
_CLEARANCE = 2
"""Pixels between mask and line, so that the line hides no border of a defect."""
_DUPLICATES = "min_nearest_lpips"


@dataclass(frozen=True)
class RuleExample:
    """One sample with its mask outlined, and beside it the picture that it is near to where the rule is about that."""

    sample_id: str
    value: float
    picture: PIL.Image.Image
    near: str = ""
    """The name of the picture beside it."""


@dataclass(frozen=True)
class RuleExamples:
    rule: str
    threshold: float
    alone: int
    """Painted samples that break the rule, whatever other rules say; near-duplicates are only looked for among
    those that pass all others."""
    first: int
    """Samples rejected by it: of the rules that they break it is the first."""
    rejected: tuple[RuleExample, ...]
    accepted: tuple[RuleExample, ...]


def examples_of(params: SelectParams, judged: pd.DataFrame, inputs: Inputs, candidates: Path) -> list[RuleExamples]:
    """Every rule in the order of trial; the one against copies where real images were described.

    `judged` is all candidates as `tasks.release.summary.Facts` has them. Raises DefectoryError where a shard cannot be
    read.
    """
    painted = judged[judged["status"] != FAILED]
    rules = RULES | ({COPY_RULE: COPY_MEASURE} if painted[COPY_MEASURE].notna().any() else {})
    return [_examples_of(rule, measure, params, painted, inputs, candidates) for rule, measure in rules.items()]


def _examples_of(
    rule: str, measure: str, params: SelectParams, painted: pd.DataFrame, inputs: Inputs, candidates: Path
) -> RuleExamples:
    threshold = float(getattr(params, rule))
    first, accepted_ones = painted["rule"] == rule, painted["status"] == ACCEPTED
    breaking = first if rule == _DUPLICATES else ~meets(rule, painted[measure].to_numpy(np.float64), params)
    # Of hundreds of thousands of rows only what the choice needs is copied.
    narrow = painted[["sample_id", measure]]
    shown = [painted.loc[nearest_to(threshold, narrow[side], measure).index] for side in (first, accepted_ones)]
    pictures = read_candidate_pictures(candidates, pd.concat(shown))
    rejected, accepted = (
        tuple(_example(row, rule, measure, painted, pictures, inputs, candidates) for row in side.to_dict("records"))
        for side in shown
    )
    off = rule == COPY_RULE and threshold == 0
    return RuleExamples(rule, threshold, 0 if off else int(breaking.sum()), int(first.sum()), rejected, accepted)


def nearest_to(threshold: float, samples: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The few samples whose finite value lies nearest to the threshold, in the order of the value."""
    finite = samples[np.isfinite(samples[measure].to_numpy(np.float64))]
    gaps = (finite[measure] - threshold).abs()
    if len(finite) > _SHOWN:
        limit = float(np.partition(gaps.to_numpy(), _SHOWN - 1)[_SHOWN - 1])
        nearer = finite.loc[gaps < limit, "sample_id"]
        chosen = [*nearer, *choose(finite.loc[gaps == limit, "sample_id"], _SHOWN - len(nearer))]
        finite = finite[finite["sample_id"].isin(chosen)]
    return finite.sort_values([measure, "sample_id"])


def outlined(image: Image, mask: Mask) -> PIL.Image.Image:
    """The image as a small picture with a line around the mask."""
    size = (_SIDE, _SIDE)
    small = np.array(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))
    touched = PIL.Image.fromarray(mask.astype(np.float32)).resize(size, PIL.Image.Resampling.BOX)
    around = ndimage.binary_dilation(np.asarray(touched) > 0, iterations=_CLEARANCE)
    small[find_boundaries(around, mode="outer")] = _OUTLINE
    return PIL.Image.fromarray(small)


def _example(
    row: dict[Any, Any],
    rule: str,
    measure: str,
    painted: pd.DataFrame,
    pictures: dict[str, dict[str, Any]],
    inputs: Inputs,
    candidates: Path,
) -> RuleExample:
    own = pictures[row["sample_id"]]
    picture = outlined(decode_image(own["image"]), decode_mask(own["mask"]))
    if rule == COPY_RULE:
        near = str(row["nearest_real_id"])
        picture = _beside(picture, inputs.by_id(near).image)
    elif rule == _DUPLICATES:
        twin = _duplicated(row, painted, candidates)
        near = str(twin["sample_id"].iloc[0])
        picture = _beside(picture, decode_image(read_candidate_pictures(candidates, twin)[near]["image"]))
    else:
        near = ""
    return RuleExample(str(row["sample_id"]), float(row[measure]), picture, near)


def _duplicated(row: dict[Any, Any], painted: pd.DataFrame, candidates: Path) -> pd.DataFrame:
    """The accepted sample that the sample was found near to, as a table of one row."""
    accepted = (painted["status"] == ACCEPTED) & (painted["category"] == row["category"])
    before = painted[accepted & (painted["index"] < row["index"])].sort_values("index")
    own, others = (
        read_descriptors(candidates, samples).astype(np.float64) for samples in (pd.DataFrame([row]), before)
    )
    nearest = int(squared_distances(own, others).argmin())
    return before.iloc[nearest : nearest + 1]


def _beside(picture: PIL.Image.Image, other: Image) -> PIL.Image.Image:
    both = PIL.Image.new("RGB", (2 * _SIDE + _GAP, _SIDE), (255, 255, 255))
    both.paste(picture, (0, 0))
    both.paste(PIL.Image.fromarray(other).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS), (_SIDE + _GAP, 0))
    return both
