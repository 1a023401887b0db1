"""The training of an anomaly embedding below a frozen backbone: masked textual inversion (arXiv 2312.05767).

Loss: |m * (target - prediction)|^2 / |m|, so that what is outside the mask teaches nothing. The paper divides by the
whole image's area, which starves small defects; here every image counts the same. In: the train split's real defects
and composites of them. Out: a file with the embedding alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import CLEAN, DefectoryError
from tasks.diffusion import text_backbone
from tasks.diffusion.codec import Codec
from tasks.diffusion.pool import DenoiserTrainer, Pool, encode_pool, label_table, masked_error, pool_images
from tasks.files.hashing import file_sha256
from tasks.files.names import BACKBONE, CODEC, PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.inputs.dataset import Inputs
from tasks.params import Params, TrainingParams, fingerprint
from tasks.params.systems import AnomalyDiffusionParams
from tasks.progress import Report
from tasks.seeds import derive
from tasks.synthesis.anomalydiffusion.embedding import AnomalyDenoiser
from tasks.training.loop import load_product, train_product

EMBEDDING = "anomaly_embedding.safetensors"


class EmbeddingTrainer(DenoiserTrainer):
    def error(self, prediction: Tensor, target: Tensor, cells: Tensor) -> Tensor:
        return masked_error(prediction, target, cells)


def fit_embedding(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train the embedding on the fitted backbone; goes on from a checkpoint of the same params.

    Raises DefectoryError where the train split has no defect with a mask or a pseudo-mask.
    """
    target = workdir / EMBEDDING
    made_from = _made_from(inputs, params, workdir)
    if is_made(target, made_from):
        return
    seed = derive(params.dataset.seed, "anomaly embedding")
    denoiser, schedule, codec = _new(inputs, params, workdir, device, seed)
    pool = _defect_pool(codec, denoiser, inputs, params, workdir, seed, report)
    trainer = EmbeddingTrainer(denoiser, schedule, pool, training_of(params), seed)
    train_product(trainer, target, made_from, "training the embedding", report, denoiser.trained_state)


def load_embedding(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device
) -> tuple[AnomalyDenoiser, DDPMScheduler, Codec]:
    """The backbone with its trained embedding, its schedule and the codec.

    Raises DefectoryError where `fit_embedding` has not finished.
    """
    denoiser, schedule, codec = _new(inputs, params, workdir, device, seed=0)
    load_product(denoiser, workdir / EMBEDDING)
    return denoiser, schedule, codec


def training_of(params: Params) -> TrainingParams:
    """What the shared training loop reads of the system's params; every image keeps its label and its mask."""
    given = params.of(AnomalyDiffusionParams).training.model_dump()
    return TrainingParams.model_validate({**given, "label_dropout": 0.0, "whole_share": 0.0})


def _made_from(inputs: Inputs, params: Params, workdir: Path) -> str:
    own, dataset = params.of(AnomalyDiffusionParams), params.dataset
    blocks = [training_of(params), params.codec, params.backbone, params.masks, own.appearance_tokens, own.inpaint]
    sources = [dataset.seed, dataset.threads, params.paint.close_up_cells, inputs.sha256]
    files = [workdir / name for name in (CODEC, BACKBONE, PSEUDO_MASKS)]
    return fingerprint(
        "anomaly embedding 2", *blocks, *sources, *(file_sha256(file) for file in files if file.is_file())
    )


def _new(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device, seed: int
) -> tuple[AnomalyDenoiser, DDPMScheduler, Codec]:
    backbone, schedule, codec = text_backbone.load_fitted_backbone(inputs, params, workdir, device)
    own = params.of(AnomalyDiffusionParams)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = AnomalyDenoiser(backbone, label_table(inputs), own.appearance_tokens, own.inpaint)
    return denoiser.to(device), schedule, codec


def _defect_pool(
    codec: Codec, denoiser: AnomalyDenoiser, inputs: Inputs, params: Params, workdir: Path, seed: int, report: Report
) -> Pool:
    images = pool_images(inputs, params, training_of(params), workdir, seed, report)
    defects = [image for image in images if image.defect_type != CLEAN]
    if not defects:
        raise DefectoryError(
            "anomalydiffusion: the train split has no defect with a mask or a pseudo-mask to learn from; raise "
            "inputs.defect_train_share, or take a system that needs none"
        )
    return encode_pool(codec, defects, label_table(inputs), report, denoiser.hole_pixels)
