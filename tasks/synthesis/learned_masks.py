"""Fits the generator of the mask source `learned` where a system draws from it, and fills the bank once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import torch

from tasks.contracts import DefectoryError, ReferenceMask
from tasks.files.hashing import file_sha256
from tasks.files.names import LEARNED_MASKS, PSEUDO_MASKS
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.masks.learned import write_learned
from tasks.params import Params, fingerprint
from tasks.params.systems import VQTransformerParams
from tasks.progress import Report
from tasks.synthesis import used_systems

GENERATORS = {
    "textual_inversion": "tasks.synthesis.anomalydiffusion.mask_inversion",
    "vq_transformer": "tasks.synthesis.vq_transformer.mask_prior",
}
"""By `masks.learned_by`, the module whose `generate_masks(inputs, params, workdir, device, report)` makes the bank."""

_Generate = Callable[[Inputs, Params, Path, torch.device, Report], list[ReferenceMask]]


def fit_learned_masks(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Make the bank, unless no system draws from it or it is made already.

    Raises DefectoryError where there is not one real mask or pseudo-mask to learn from.
    """
    if not any(_shares(params, system).get("learned", 0) for system in used_systems(params)):
        return
    target, pseudo = workdir / LEARNED_MASKS, workdir / PSEUDO_MASKS
    sources = [params.dataset.seed, params.dataset.threads, params.dataset.image_size, inputs.sha256]
    sources += [file_sha256(pseudo) if pseudo.is_file() else ""]
    made_from = fingerprint(
        "learned masks 2", params.masks, params.codec, params.backbone, params.of(VQTransformerParams), sources
    )
    if is_made(target, made_from):
        return
    generate = cast(_Generate, import_module(GENERATORS[params.masks.learned_by]).generate_masks)
    masks = generate(inputs, params, workdir, device, report)
    if not masks:
        raise DefectoryError(
            "masks.sources: 'learned' has a share, but the train split has no real mask and no pseudo-mask to learn "
            "from; give defects with masks, or draw from 'strokes' and 'perlin'"
        )
    write_learned(target, masks)
    mark_made(target, made_from)


def _shares(params: Params, system: str) -> dict[str, float]:
    return dict(params.system(system).masks or params.masks.sources)  # type: ignore[arg-type]
