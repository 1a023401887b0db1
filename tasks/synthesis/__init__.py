"""The synthesis systems by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from tasks.contracts import DefectoryError
from tasks.params import Params
from tasks.synthesis.protocol import System


@dataclass(frozen=True)
class Entry:
    """Where a system is, and which files that training leaves touch its samples."""

    module: str
    """Imported when the system is asked for."""
    products: tuple[str, ...]
    """Files in the folder of models; one that some params do without need not exist."""


_CODEC, _PSEUDO = "codec.safetensors", "pseudo_masks.parquet"

SYSTEMS = {
    "cutpaste": Entry("tasks.synthesis.cutpaste", ()),
    "crop_paste": Entry("tasks.synthesis.crop_paste", (_PSEUDO,)),
    "draem": Entry("tasks.synthesis.draem", ("textures.parquet",)),
    "nsa": Entry("tasks.synthesis.nsa", ()),
    "sdas": Entry("tasks.synthesis.sdas", (_CODEC, "clean_diffusion.safetensors")),
    "adabldm": Entry("tasks.synthesis.adabldm", (_CODEC, _PSEUDO, "denoiser.safetensors")),
    "anomalydiffusion": Entry(
        "tasks.synthesis.anomalydiffusion", (_CODEC, _PSEUDO, "backbone.safetensors", "anomaly_embedding.safetensors")
    ),
    "anomalyany": Entry(
        "tasks.synthesis.anomalyany",
        (_CODEC, _PSEUDO, "backbone.safetensors", "text_image.safetensors", "descriptions.json"),
    ),
    "inpaint_lora": Entry(
        "tasks.synthesis.inpaint_lora", (_CODEC, _PSEUDO, "backbone.safetensors", "inpaint_lora.safetensors")
    ),
    "vq_transformer": Entry(
        "tasks.synthesis.vq_transformer", (_PSEUDO, "vq_codec.safetensors", "vq_prior.safetensors")
    ),
}
"""By the name in params: a key of `paint.systems`, and the name of the system's block."""


def entry_of(name: str) -> Entry:
    """Raises DefectoryError naming the nearest system that exists."""
    if name not in SYSTEMS:
        near = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(SYSTEMS))}"
        raise DefectoryError(f"paint.systems: no synthesis system is called '{name}'; {hint}")
    return SYSTEMS[name]


def system_named(name: str) -> System:
    """The system called `name`; raises DefectoryError naming the nearest one that exists."""
    return cast(System, import_module(entry_of(name).module))


def used_systems(params: Params) -> list[str]:
    """The names of the systems with a share above 0, sorted; DefectoryError for a name that no system has."""
    used = sorted(name for name, share in params.paint.systems.items() if share > 0)
    for name in used:
        entry_of(name)
    return used
