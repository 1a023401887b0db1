"""All arms of all categories of one release: from inputs, pseudo-masks and the release to the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from tasks.detectors.protocol import SyntheticSet
from tasks.evaluation.evaluate import evaluate_category
from tasks.evaluation.examples import RELEASE_ORIGIN, photographs_of, released
from tasks.evaluation.leaks import refuse_leaks
from tasks.evaluation.outcome import write_outcome
from tasks.evaluation.painted import BASELINES, only, painted_by
from tasks.files.hashing import file_sha256
from tasks.files.names import MANIFEST, PSEUDO_MASKS
from tasks.files.products import marker_of
from tasks.inputs.dataset import read_inputs
from tasks.params import Params
from tasks.progress import Report
from tasks.quality.scores import Scorer
from tasks.synthesis.fitting import unfed_by
from tasks.workspace import Workspace


def run_arms(params: Params, workspace: Workspace, device: torch.device, report: Report) -> None:
    """Measure all arms of all categories, and write the report, its figures and its pictures."""
    inputs, settings, models = read_inputs(workspace.inputs), params.evaluate, workspace.models
    size = settings.image_size
    ours = {name: released(workspace.release, name, size, settings.samples) for name in inputs.categories}
    painted = [example for examples in ours.values() for example in examples]
    suspected = refuse_leaks(inputs, params.inputs.near_duplicate_distance, painted, report)
    scorer = Scorer(params.score, device)
    folder = _baselines_folder(workspace)
    baselines = {
        name: painted_by(name, inputs, only(params, name), folder, scorer, device, report)
        for name in BASELINES
        if not unfed_by(inputs, name)
    }
    evaluations = [
        evaluate_category(
            category,
            photographs_of(inputs, category, models, size),
            [
                SyntheticSet(RELEASE_ORIGIN, "ours", ours[category]),
                *(SyntheticSet(name, "baseline", made.get(category, ())) for name, made in baselines.items()),
            ],
            suspected,
            settings,
            workspace.evaluation_cache / "scores" / category,
            device,
            report,
        )
        for category in inputs.categories
    ]
    manifest = file_sha256(workspace.release / MANIFEST)
    made_by = f"Of the release whose manifest has the SHA-256 {manifest}; made by `defectory evaluate`."
    write_outcome(workspace.evaluation, f"What {params.dataset.name} is worth", made_by, evaluations, settings)


def _baselines_folder(workspace: Workspace) -> Path:
    """Where the baselines are fitted, with the same pseudo-masks: `models` belongs to the train stage."""
    folder = workspace.evaluation_cache / "baselines"
    folder.mkdir(parents=True, exist_ok=True)
    pseudo = workspace.models / PSEUDO_MASKS
    for file in (pseudo, marker_of(pseudo)):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    return folder
