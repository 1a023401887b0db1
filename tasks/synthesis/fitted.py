"""The record that all systems of a dataset are fitted: written last, read without importing any of them.

In: params, inputs and the folder of models. Out: one hash that stands for every trained file that touches samples.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tasks.contracts import TRAIN, DefectoryError
from tasks.files.atomic import write_atomic
from tasks.files.products import marker_of, remove_leftovers
from tasks.inputs.dataset import Inputs
from tasks.params import CODE_VERSION, Params, fingerprint
from tasks.params.registry import entry_of
from tasks.progress import Report
from tasks.synthesis import system_named, used_systems
from tasks.synthesis.learned_masks import fit_learned_masks

RECORD = "fitted.json"
_MASK_PRODUCTS = ("pseudo_masks.parquet", "learned_masks.parquet")
"""Shapes that masks are drawn from, whatever system paints them."""


def mark_fitted(params: Params, inputs: Inputs, workdir: Path) -> None:
    """Declare everything fitted."""
    record = {"made_from": _made_from(params, inputs), "sha256": _products_sha256(params, workdir)}
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomic(workdir / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def fitted_sha256(params: Params, inputs: Inputs, workdir: Path) -> str:
    """Raises DefectoryError where training has not finished for exactly these params and inputs."""
    try:
        record = json.loads((workdir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    if record.get("made_from") != _made_from(params, inputs):
        raise DefectoryError(
            f"{workdir}: {', '.join(used_systems(params))} not fitted to these params and inputs; "
            "run `defectory run`, or the train stage"
        )
    return str(record["sha256"])


def _made_from(params: Params, inputs: Inputs) -> str:
    systems = used_systems(params)
    paint = params.paint
    blocks = [params.masks, params.codec, params.denoiser, params.backbone, paint.prompt, paint.close_up_cells]
    dataset = [params.dataset.seed, params.dataset.threads, params.dataset.image_size, inputs.sha256]
    return fingerprint(CODE_VERSION, *blocks, *dataset, systems, *(params.system(name) for name in systems))


def _products_sha256(params: Params, workdir: Path) -> str:
    names = {*_MASK_PRODUCTS, *(name for system in used_systems(params) for name in entry_of(system).products)}
    markers = {name: marker_of(workdir / name) for name in sorted(names)}
    return fingerprint({name: json.loads(path.read_text()) for name, path in markers.items() if path.is_file()})


def fit_systems(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fit every system that `paint.systems` gives a share, and the mask generator that they draw from.

    Raises DefectoryError, before any of them is trained, for one that these inputs cannot feed.
    """
    for name in used_systems(params):
        _check_needs(name, inputs)
    for name in used_systems(params):
        system_named(name).fit(inputs, params, workdir, device, report)
    fit_learned_masks(inputs, params, workdir, device, report)
    mark_fitted(params, inputs, workdir)
    remove_leftovers(workdir)


def _check_needs(name: str, inputs: Inputs) -> None:
    without = [category for category in inputs.categories if not inputs.defects(category, TRAIN)]
    for need in entry_of(name).needs:
        if without and (need == "defects" or len(without) == len(inputs.categories)):
            raise DefectoryError(
                f"paint.systems: {name} takes real defects, and the train split has none of {', '.join(without)}; "
                f"give it some, raise inputs.defect_train_share, or give {name} no share"
            )
