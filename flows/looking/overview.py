"""What a dataset would be and how far it is: read from params and disk, without making anything.

In: params and a workspace. Out: an Overview. Before the inputs have been read, the sources are only listed.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.candidates.files import shard_files
from tasks.candidates.read import is_finished, read_marker
from tasks.contracts import DefectoryError, ShardPlan
from tasks.files.names import METRICS
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.inputs.readers import list_source
from tasks.params import Params
from tasks.plan import plan_shards
from tasks.synthesis.fitted import fitted_sha256
from tasks.workspace import Workspace


@dataclass(frozen=True)
class CategoryProgress:
    """How far one category is."""

    samples: int
    shards: int
    done_shards: int
    done_samples: int
    failed_samples: int


@dataclass(frozen=True)
class Overview:
    input_images: int
    inputs_read: bool
    model_sha256: str | None
    """None where the system has not been trained."""
    categories: dict[str, CategoryProgress]
    metrics: dict[str, Any]
    """Of the release; empty where there is none."""

    @property
    def missing_samples(self) -> int:
        return sum(category.samples - category.done_samples for category in self.categories.values())


def look(params: Params, base: Path, workspace: Workspace) -> Overview:
    """Look at the workspace; relative sources start from `base`. Raises DefectoryError where a source is not there."""
    metrics = _metrics(workspace)
    if not (workspace.inputs / "splits.json").is_file():
        images = _listed(params, base)
        planned = {category: _unmade(params) for category in sorted(images)}
        return Overview(images.total(), False, None, planned, metrics)
    inputs = read_inputs(workspace.inputs)
    sha256 = _model_sha256(params, inputs, workspace)
    plans = plan_shards(params, inputs, sha256 or "")
    categories = {name: _progress(workspace, [p for p in plans if p.category == name]) for name in inputs.categories}
    return Overview(len(inputs.images), True, sha256, categories, metrics)


def _listed(params: Params, base: Path) -> Counter[str]:
    """The number of images by category that the sources offer, without opening any."""
    return Counter(image.category for source in params.inputs.sources for image in list_source(source, base).images)


def _unmade(params: Params) -> CategoryProgress:
    samples = params.dataset.samples_per_category
    return CategoryProgress(samples, -(-samples // params.dataset.shard_size), 0, 0, 0)


def _model_sha256(params: Params, inputs: Inputs, workspace: Workspace) -> str | None:
    try:
        return fitted_sha256(params, inputs, workspace.models)
    except DefectoryError:
        return None


def _progress(workspace: Workspace, plans: list[ShardPlan]) -> CategoryProgress:
    done = [plan for plan in plans if is_finished(workspace.candidates, plan)]
    markers = [read_marker(shard_files(workspace.candidates, plan).marker) for plan in done]
    return CategoryProgress(
        samples=sum(len(plan.specs) for plan in plans),
        shards=len(plans),
        done_shards=len(done),
        done_samples=sum(len(plan.specs) for plan in done),
        failed_samples=sum(marker.failed for marker in markers if marker),
    )


def _metrics(workspace: Workspace) -> dict[str, Any]:
    try:
        content = json.loads((workspace.release / METRICS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
