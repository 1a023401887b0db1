"""IC-LPIPS of each category, for a release whose params ask for it.

In: accepted samples, and the real defects of the train split. Out: figures by category. A category's value is the mean
over its defect types, since IC-LPIPS is of one type; types without a real defect of the train split have none. Up to
`select.ic_lpips_images` samples of a type are compared, chosen by a hash of their names. The cost is one pass of the
network over those and over the real defects: the only part of a release that needs a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.candidates.read import read_candidate_pictures
from tasks.contracts import TRAIN
from tasks.files.pictures import decode_image
from tasks.params import Params
from tasks.release.metrics import MetricValues, rounded
from tasks.seeds import choose

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs
    from tasks.networks.lpips import Network

LPIPS_NETWORKS: dict[str, Network] = {"ic_lpips_alexnet": "alexnet", "ic_lpips_vgg16": "vgg16"}
"""By the name of the score."""


def diversity_names(params: Params) -> list[str]:
    """The IC-LPIPS scores that the params name, sorted."""
    return sorted(LPIPS_NETWORKS.keys() & params.select.min_category_scores.keys())


def diversity_of(params: Params, accepted: pd.DataFrame, inputs: Inputs, candidates: Path) -> dict[str, MetricValues]:
    """By category, for each score of `diversity_names` its value, None where it has none, and over how many samples.

    `accepted` has the columns sample_id, shard, category and defect_type. Raises DefectoryError where a shard cannot be
    read or the network's weights are missing.
    """
    figures: dict[str, MetricValues] = {}
    for category in inputs.categories if diversity_names(params) else ():
        samples = _choose(accepted[accepted["category"] == category], params.select.ic_lpips_images)
        samples = samples[samples["defect_type"].isin(_shaped(category, inputs))]
        pictures = read_candidate_pictures(candidates, samples)
        found = [_score(name, samples, pictures, inputs) for name in diversity_names(params)]
        figures[category] = {key: value for scores in found for key, value in scores.items()}
    return figures


def _choose(accepted: pd.DataFrame, most: int) -> pd.DataFrame:
    chosen = {name for _, group in accepted.groupby("defect_type") for name in choose(group["sample_id"], most)}
    return accepted[accepted["sample_id"].isin(chosen)]


def _shaped(category: str, inputs: Inputs) -> list[str]:
    """The defect types of which the train split has a real example."""
    return sorted({image.defect_type for image in inputs.defects(category, TRAIN)})


def _score(name: str, samples: pd.DataFrame, pictures: dict[str, dict[str, Any]], inputs: Inputs) -> MetricValues:
    # Imported here because it brings torch, which nothing else of a release needs.
    from tasks.quality.ic_lpips import Protocol, ic_lpips

    protocol = Protocol(LPIPS_NETWORKS[name], most=max(len(samples), 1), chosen="first", below_two="skip")
    values = []
    for (category, defect_type), group in samples.groupby(["category", "defect_type"], sort=True):
        images = [decode_image(pictures[sample_id]["image"]) for sample_id in group["sample_id"]]
        real = [image.image for image in inputs.defects(str(category), TRAIN, str(defect_type))]
        values.append(ic_lpips(images, real, protocol).value)
    finite = [value for value in values if np.isfinite(value)]
    return {name: rounded(float(np.mean(finite))) if finite else None, f"{name}_images": len(samples)}
