"""Evaluate: what a release is worth to whoever trains on it, against what is free and against the few real defects.

In: inputs, pseudo-masks and the release. Out: `<root>/evaluation`: a report, its figures, and a picture a category and
detector. The test split is read here and nowhere else.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch
from prefect import flow

from flows.lock import alone
from flows.policy import device, station
from flows.stage import run_stage
from flows.terminal import output, progress
from flows.timing import record_wall
from tasks.contracts import TRAIN, DefectoryError
from tasks.detectors.protocol import SyntheticSet
from tasks.evaluation.evaluation import evaluate as evaluate_category
from tasks.evaluation.examples import RELEASE, photographs_of, released
from tasks.evaluation.leaks import refuse_leaks
from tasks.evaluation.outcome import REPORT, write_outcome
from tasks.evaluation.painted import BASELINES, only, painted_by
from tasks.files.atomic import file_sha256
from tasks.files.products import marker_of
from tasks.inputs.dataset import Inputs, read_inputs
from tasks.masks.pseudo_store import PSEUDO_MASKS
from tasks.networks.arithmetic import fix_arithmetic
from tasks.params import Params, load_params
from tasks.progress import Report
from tasks.quality.scores import Scorer
from tasks.workspace import PARAMS, ROOT, Workspace


@flow(name="evaluate", persist_result=False)
def evaluate(params: Path = PARAMS, root: Path = ROOT) -> None:
    """Measure the release's worth. Raises DefectoryError where it leaks, or there is none."""
    workspace, wanted, start = Workspace(root), load_params(params), time.perf_counter()
    if not (workspace.release / "manifest.parquet").is_file():
        raise DefectoryError(f"{workspace.release}: no release to evaluate; `defectory run` makes one")
    fix_arithmetic(wanted)
    with alone(workspace.evaluation_cache):  # not the whole workspace: versions are published meanwhile
        arms(wanted, workspace)
    output.print(f"{workspace.evaluation / REPORT}")
    record_wall(workspace, "evaluate", start)


@station("arms")
def arms(params: Params, workspace: Workspace) -> None:
    with progress() as report:
        run_arms(params, workspace, device(), report)


def run_arms(params: Params, workspace: Workspace, device: torch.device, report: Report) -> None:
    """Measure all arms of all categories, and write the report, its figures and its pictures."""
    inputs, settings, models = read_inputs(workspace.inputs), params.evaluate, workspace.models
    size = settings.image_size
    ours = {name: released(workspace.release, name, size, settings.samples) for name in inputs.categories}
    painted = [example for examples in ours.values() for example in examples]
    suspected = refuse_leaks(inputs, painted, report=report)
    scorer = Scorer(params.score, device)
    folder = _baselines_folder(workspace)
    baselines = {
        name: painted_by(name, inputs, only(params, name), folder, scorer, device, report)
        for name in _baselines(inputs)
    }
    evaluations = [
        evaluate_category(
            category,
            photographs_of(inputs, category, models, size),
            [
                SyntheticSet(RELEASE, "ours", ours[category]),
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
    manifest = file_sha256(workspace.release / "manifest.parquet")
    made_by = f"Of the release whose manifest has the SHA-256 {manifest}; made by `defectory evaluate`."
    write_outcome(workspace.evaluation, f"What {params.dataset.name} is worth", made_by, evaluations, settings)


def _baselines(inputs: Inputs) -> list[str]:
    """Crop&Paste wants real defects to paste, in every category."""
    few_real = all(inputs.defects(category, TRAIN) for category in inputs.categories)
    return [name for name in BASELINES if few_real or name != "crop_paste"]


def _baselines_folder(workspace: Workspace) -> Path:
    """Where the baselines are fitted, with the same pseudo-masks: `models` belongs to the train stage."""
    folder = workspace.evaluation_cache / "baselines"
    folder.mkdir(parents=True, exist_ok=True)
    pseudo = workspace.models / PSEUDO_MASKS
    for file in (pseudo, marker_of(pseudo)):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    return folder


if __name__ == "__main__":
    run_stage(evaluate, "Measure what the release is worth to whoever trains on it.")
