"""The params of a run: the project's own, with fewer steps of training and images of one category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.device.sizes import Sizes
from tasks.params import BackboneParams, CodecParams, DenoiserParams, Params
from tasks.params.systems import (
    AnomalyAnyParams,
    AnomalyDiffusionParams,
    InpaintLoraParams,
    SdasModelParams,
    TokenCodecParams,
    TokenPriorParams,
)

CODEC, DENOISER, BACKBONE = "fine-tuning the codec", "training the denoiser", "training the backbone"
EMBEDDING, PAINTER = "training the embedding", "training the painter"
CLEAN, WORDS = "training on clean images", "learning what words mean"
CODEBOOK, PRIOR = "training the codebook", "training the prior"

STEPS = {
    CODEC: CodecParams().fine_tune_steps,
    DENOISER: DenoiserParams().steps,
    BACKBONE: BackboneParams().steps,
    EMBEDDING: AnomalyDiffusionParams().training.steps,
    PAINTER: InpaintLoraParams().training.steps,
    CLEAN: SdasModelParams().steps,
    WORDS: AnomalyAnyParams().text_image_steps,
    CODEBOOK: TokenCodecParams().steps,
    PRIOR: TokenPriorParams().steps,
}
"""Of every training by default, by what it tells of itself."""

TRAININGS = {
    "sdas": (CODEC, CLEAN),
    "adabldm": (CODEC, DENOISER),
    "anomalydiffusion": (CODEC, BACKBONE, EMBEDDING),
    "anomalyany": (CODEC, BACKBONE, WORDS),
    "inpaint_lora": (CODEC, BACKBONE, PAINTER),
    "vq_transformer": (CODEC, CODEBOOK, PRIOR),
}
"""What a system is trained by; the others learn nothing."""

_FEWEST_STEPS = 4
_NARROW: dict[str, Any] = {
    "dataset": {"threads": 1},
    "codec": {"batch_size": 2},
    "denoiser": {"channels": [32, 64], "batch_size": 2},
    "backbone": {"channels": [32, 64], "batch_size": 2},
    "sdas": {"steps": 4, "model": {"channels": [32, 64], "batch_size": 2, "space": "latent"}},
    "adabldm": {"steps": 4},
    "anomalydiffusion": {"steps": 4, "training": {"batch_size": 2}},
    "anomalyany": {"steps": 2, "attention_updates": 1, "refinement_updates": 1},
    "inpaint_lora": {"steps": 4, "candidates": 2, "training": {"batch_size": 2}},
    "vq_transformer": {"prior": {"width": 32, "layers": 1, "heads": 2, "batch_size": 2}, "codec": {"batch_size": 2}},
}


def embedded(photographs: Path, sizes: Sizes) -> Params:
    """The embedded backbones on a category in the layout of MVTec AD, whose name is the folder's."""
    content = _common(photographs, sizes, sizes.side, sizes.batch)
    trained = {
        "codec": {"fine_tune_steps": _scaled(CODEC, sizes), "crop": min(128, sizes.side)},
        "denoiser": {"steps": _scaled(DENOISER, sizes), "pool_size": sizes.pool},
        "backbone": {"steps": _scaled(BACKBONE, sizes), "pool_size": sizes.pool},
        "sdas": {"model": {"steps": _scaled(CLEAN, sizes), "views_per_category": sizes.pool}},
        "anomalydiffusion": {"training": {"steps": _scaled(EMBEDDING, sizes), "pool_size": sizes.pool}},
        "anomalyany": {"text_image_steps": _scaled(WORDS, sizes), "text_image_pool": sizes.pool},
        "vq_transformer": {
            "codec": {"steps": _scaled(CODEBOOK, sizes), "crop": min(128, sizes.side)},
            "prior": {"steps": _scaled(PRIOR, sizes), "pool_size": sizes.pool},
        },
        "inpaint_lora": {"training": {"steps": _scaled(PAINTER, sizes), "pool_size": sizes.pool}},
    }
    content = _merged(content, trained)
    return Params.model_validate(_merged(content, _NARROW) if sizes.narrow else content)


def pretrained(photographs: Path, sizes: Sizes, side: int, pipelines: Path, system: str) -> Params:
    """A system on what `stable_diffusion.write_pipelines` wrote; it paints in as many steps as the params say."""
    training = {"steps": sizes.pretrained_steps, "pool_size": 2 * sizes.pretrained_batch}
    backbone = str(pipelines / ("inpainting" if system == "inpaint_lora" else "text"))
    content = _merged(_common(photographs, sizes, side, batch_of(system, sizes)), _NARROW if sizes.narrow else {})
    loaded: dict[str, Any] = {
        "codec": {"kind": "pretrained", "path": str(pipelines / "text" / "vae")},
        "denoiser": {"kind": "pretrained", "path": str(pipelines / "text"), **training},
        "backbone": {"kind": "pretrained", "path": backbone},
        "sdas": {"model": {"kind": "pretrained", "path": str(pipelines / "text"), "space": "latent"}},
        "anomalydiffusion": {"training": training},
        "anomalyany": {"text_image_kind": "pretrained", "text_image_path": str(pipelines / "clip")},
        "inpaint_lora": {"training": training},
    }
    return Params.model_validate(_merged(content, loaded))


def batch_of(system: str, sizes: Sizes) -> int:
    """Samples that a pretrained backbone paints at once; AnomalyAny keeps the gradients of all of them."""
    return sizes.guided_batch if system == "anomalyany" else sizes.pretrained_batch


def only(params: Params, system: str, samples: int) -> Params:
    """So many samples by one system, whose masks come from the sources that all share: every system paints the same
    places."""
    return params.model_copy(
        update={
            "dataset": params.dataset.model_copy(update={"samples_per_category": samples}),
            "paint": params.paint.model_copy(update={"systems": {system: 1.0}}),
            system: params.system(system).model_copy(update={"masks": {}}),
        }
    )


def _common(photographs: Path, sizes: Sizes, side: int, batch: int) -> dict[str, Any]:
    source = {"kind": "mvtec", "root": str(photographs.absolute()), "category": photographs.name}
    return {
        "dataset": {"name": "device", "image_size": side, "shard_size": sizes.shard_size, "seed": 20},
        "inputs": {"sources": [source], "defect_train_share": 0.5},
        "masks": {"sources": {"reference": 0.8, "perlin": 0.2}, "placement": "in_place"},
        "paint": {"batch_size": batch},
    }


def _scaled(training: str, sizes: Sizes) -> int:
    return max(_FEWEST_STEPS, round(STEPS[training] * sizes.training_share))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Blocks within blocks; where both have a value, the other's."""
    merged = dict(one)
    for name, value in other.items():
        mine = merged.get(name)
        merged[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged
