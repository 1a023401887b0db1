"""Whether two trainings from the same params leave the same bytes on one device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.device.embedded import networks_of, params_of
from benchmarks.device.recipes import TRAININGS
from benchmarks.device.shop import Shop
from benchmarks.setup import read_or_build
from tasks.files.hashing import file_sha256
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.progress import silent
from tasks.synthesis.fitting import fit_systems

_STEPS, _POOL = 0.02, 16
"""A share of the default steps, and images: what does not repeat shows within a few steps."""


def measure_repeats(shop: Shop) -> None:
    """A row of the table `repeats` for every file that training leaves."""
    short = replace(shop, sizes=replace(shop.sizes, training_share=_STEPS, pool=_POOL))
    all_params = [params_of(short, system) for system in TRAININGS]
    folder = shop.work / str(shop.sizes.side)
    inputs = read_or_build(all_params[0], Path(), folder / "inputs", silent)
    known: set[str] = set()
    for params in all_params:
        made = [_trained(shop, inputs, params, folder / f"repeats-{number}") for number in range(2)]
        for name in sorted(made[0].keys() - known):
            row = {"networks": networks_of(shop), "file": name, "repeats": made[0][name] == made[1].get(name)}
            shop.record.add("repeats", row)
        known |= made[0].keys()


def _trained(shop: Shop, inputs: Inputs, params: Params, models: Path) -> dict[str, str]:
    """SHA-256 of the weights by their file's name."""
    fit_systems(inputs, params, models, shop.device, silent)
    return {path.name: file_sha256(path) for path in models.glob("*.safetensors")}
