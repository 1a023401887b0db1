"""The record that all systems of a dataset are fitted: written last, read without importing any of them.

In: params, inputs and the folder of models. Out: one hash that stands for every trained file that touches samples.
"""

from __future__ import annotations

import json
from pathlib import Path

from tasks.contracts import DefectoryError
from tasks.files.json_text import write_json
from tasks.files.names import LEARNED_MASKS, PSEUDO_MASKS
from tasks.files.products import marker_of
from tasks.inputs.dataset import Inputs
from tasks.params import CODE_VERSION, Params, fingerprint
from tasks.params.registry import entry_of
from tasks.synthesis import used_systems

RECORD = "fitted.json"
_MASK_PRODUCTS = (PSEUDO_MASKS, LEARNED_MASKS)
"""Shapes that masks are drawn from, whatever system paints them."""


def mark_fitted(params: Params, inputs: Inputs, workdir: Path) -> None:
    """Declare everything fitted."""
    record = {"made_from": _made_from(params, inputs), "sha256": _products_sha256(params, workdir)}
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / RECORD, record)


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
