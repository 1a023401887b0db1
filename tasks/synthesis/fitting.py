"""All systems of a dataset fitted, one after another, and the record of it written last."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.contracts import TRAIN, DefectoryError
from tasks.diffusion.compatibility import check_networks
from tasks.files.products import remove_leftovers
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.params.registry import entry_of
from tasks.progress import Report
from tasks.synthesis import system_named, used_systems
from tasks.synthesis.fitted import mark_fitted
from tasks.synthesis.learned_masks import fit_learned_masks


def fit_systems(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fit every system that `paint.systems` gives a share, and the mask generator that they draw from.

    Raises DefectoryError, before any of them is trained, for one that these inputs cannot feed.
    """
    check_systems(params)
    for name in used_systems(params):
        _check_needs(name, inputs)
    for name in used_systems(params):
        system_named(name).fit(inputs, params, workdir, device, report)
    fit_learned_masks(inputs, params, workdir, device, report)
    mark_fitted(params, inputs, workdir)
    remove_leftovers(workdir)


def check_systems(params: Params) -> None:
    """Import every system in use, and look whether the networks that params name belong together, by their
    configurations alone. Raises DefectoryError."""
    for name in used_systems(params):
        system_named(name)
    products = {product for name in used_systems(params) for product in entry_of(name).products}
    check_networks(params, products)


def unfed_by(inputs: Inputs, name: str) -> list[str]:
    """The categories without the real defects in their train split that the system cannot do without."""
    without = [category for category in inputs.categories if not inputs.defects(category, TRAIN)]
    needs = entry_of(name).needs
    lacks = "defects" in needs or ("some_defects" in needs and len(without) == len(inputs.categories))
    return without if lacks else []


def _check_needs(name: str, inputs: Inputs) -> None:
    without = unfed_by(inputs, name)
    if without:
        raise DefectoryError(
            f"paint.systems: {name} takes real defects, and the train split has none of {', '.join(without)}; "
            f"give it some, raise inputs.defect_train_share, or give {name} no share"
        )
