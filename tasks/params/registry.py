"""The registry of synthesis systems: all that the rest of the project knows of one before it is imported.

Adding a system is its folder, one entry here and one test. Nothing else names it: its block in params.yaml, its
products and its estimates are found through its entry.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from operator import attrgetter
from pkgutil import resolve_name
from typing import Literal

from tasks.contracts import DefectoryError
from tasks.files.names import BACKBONE, CODEC, DENOISER, PSEUDO_MASKS
from tasks.params.systems import SystemParams

Need = Literal["defects", "some_defects"]
"""What a system cannot do without in the train split: a real defect in every category, or one in any of them."""


@dataclass(frozen=True)
class Entry:
    """Where a system is, what its block in params is made of, and what is known of it without running it."""

    module: str
    """Imported when the system is asked for; it has the functions of `tasks/synthesis/protocol.py`."""
    params: str
    """The class of its block, as 'module:Class'. That module must do without torch: params are read where there is
    none."""
    products: tuple[str, ...] = ()
    """Files in the folder of models that touch its samples; one that some params do without need not exist."""
    needs: tuple[Need, ...] = ()
    training_seconds: tuple[tuple[str, float], ...] = ()
    """Of what it trains for itself: the dotted key of a number of steps in its block, and the seconds of one step on
    two cores. What several systems share (codec, backbone) is counted apart."""
    sample_seconds: float = 0.7
    """Of a sample at 256 px on two cores, where nothing was measured yet."""

    def seconds_of_training(self, block: SystemParams) -> float:
        """Before anything was trained, what its own training will take with this block."""
        return sum(seconds * float(attrgetter(key)(block)) for key, seconds in self.training_seconds)


SYSTEMS = {
    "cutpaste": Entry("tasks.synthesis.cutpaste", "tasks.params.systems:CutPasteParams", sample_seconds=0.2),
    "crop_paste": Entry(
        "tasks.synthesis.crop_paste",
        "tasks.params.systems:CropPasteParams",
        products=(PSEUDO_MASKS,),
        needs=("defects",),
        sample_seconds=0.2,
    ),
    "draem": Entry(
        "tasks.synthesis.draem",
        "tasks.params.systems:DraemParams",
        products=("textures.parquet",),
        sample_seconds=0.2,
    ),
    "nsa": Entry("tasks.synthesis.nsa", "tasks.params.systems:NsaParams", sample_seconds=0.2),
    "sdas": Entry(
        "tasks.synthesis.sdas",
        "tasks.params.systems:SdasParams",
        products=(CODEC, "clean_diffusion.safetensors"),
        training_seconds=(("model.steps", 0.2),),
    ),
    "adabldm": Entry(
        "tasks.synthesis.adabldm",
        "tasks.params.systems:AdaBLDMParams",
        products=(CODEC, PSEUDO_MASKS, DENOISER),
    ),
    "anomalydiffusion": Entry(
        "tasks.synthesis.anomalydiffusion",
        "tasks.params.systems:AnomalyDiffusionParams",
        products=(CODEC, PSEUDO_MASKS, BACKBONE, "anomaly_embedding.safetensors"),
        needs=("some_defects",),
        training_seconds=(("training.steps", 0.35),),
    ),
    "anomalyany": Entry(
        "tasks.synthesis.anomalyany",
        "tasks.params.systems:AnomalyAnyParams",
        products=(CODEC, PSEUDO_MASKS, BACKBONE, "text_image.safetensors", "descriptions.json"),
        training_seconds=(("text_image_steps", 0.1),),
        sample_seconds=6.0,
    ),
    "inpaint_lora": Entry(
        "tasks.synthesis.inpaint_lora",
        "tasks.params.systems:InpaintLoraParams",
        products=(CODEC, PSEUDO_MASKS, BACKBONE, "inpaint_lora.safetensors"),
        needs=("defects",),
        training_seconds=(("training.steps", 0.5),),
        sample_seconds=1.5,
    ),
    "vq_transformer": Entry(
        "tasks.synthesis.vq_transformer",
        "tasks.params.systems:VQTransformerParams",
        products=(PSEUDO_MASKS, "vq_codec.safetensors", "vq_prior.safetensors"),
        training_seconds=(("codec.steps", 0.4), ("prior.steps", 0.3)),
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


def params_of(name: str) -> type[SystemParams]:
    """The class of a system's block. Raises DefectoryError for a name that no system has, and for an entry whose class
    is not there or is no SystemParams."""
    where = entry_of(name).params
    try:
        found = resolve_name(where)
    except (ImportError, AttributeError, ValueError) as error:
        raise DefectoryError(f"{where}, the params of '{name}': {error}; put right the system's entry") from None
    if not (isinstance(found, type) and issubclass(found, SystemParams)):
        raise DefectoryError(f"{where}, the params of '{name}': expected a subclass of SystemParams, got {found!r}")
    return found


def name_of(block: type[SystemParams]) -> str:
    """The system whose block is of this class. Raises DefectoryError where no entry names it."""
    for name in SYSTEMS:
        if params_of(name) is block:
            return name
    raise DefectoryError(f"{block.__module__}:{block.__qualname__} is the block of no system; give it an entry")
