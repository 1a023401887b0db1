"""What `train` makes for the VQ-Transformer, each product once: the image codec, then the prior over its tokens."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.contracts import CLEAN, TRAIN, Image
from tasks.diffusion import codec_training, pool
from tasks.diffusion.denoiser import LabelTable
from tasks.files.hashing import file_sha256
from tasks.files.names import CODEC, PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.files.tensors import read_safetensors
from tasks.inputs.dataset import Inputs
from tasks.networks.device import device_of
from tasks.params import Params, fingerprint
from tasks.params.systems import VQTransformerParams
from tasks.progress import Report
from tasks.seeds import derive
from tasks.synthesis.vq_transformer.grids import Grids, encode_grids
from tasks.synthesis.vq_transformer.image_codec import EmbeddedImageCodec, ImageCodec, load_embedded, load_pretrained
from tasks.synthesis.vq_transformer.prior import Prior
from tasks.synthesis.vq_transformer.prior_training import PriorTrainer
from tasks.synthesis.vq_transformer.vqgan_training import VQGANTraining
from tasks.training.composites import TrainingImage
from tasks.training.loop import train_product

IMAGE_CODEC, PRIOR = "vq_codec.safetensors", "vq_prior.safetensors"


def fit_image_codec(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Give the dataset's codec a codebook, trained on the train split; a pretrained VQModel is taken as it is."""
    target, block = workdir / IMAGE_CODEC, params.of(VQTransformerParams).codec
    if block.kind == "pretrained":
        return
    codec_training.fit_codec(inputs, params, workdir, device, report)
    sources = [file_sha256(path) for path in (workdir / CODEC,) if path.is_file()]
    made_from = fingerprint("vq codec 2", block, params.codec, dataset_of(inputs, params), sources)
    if is_made(target, made_from):
        return
    seed = derive(params.dataset.seed, "vq codec")
    codec = EmbeddedImageCodec(codec_training.own_fitted_codec(params, workdir, device), block.codebook_size)
    training = VQGANTraining(codec, _half_defective(inputs), block, seed)
    train_product(training, target, made_from, "training the codebook", report, codec.state_dict)


def _half_defective(inputs: Inputs) -> list[Image]:
    """The train split's images, the defective ones repeated until they are half: a codebook needs words for them."""
    images = [image for image in inputs.images if image.split == TRAIN]
    cleans = [image.image for image in images if image.defect_type == CLEAN]
    defects = [image.image for image in images if image.defect_type != CLEAN]
    return cleans + defects * max(1, len(cleans) // max(1, len(defects)))


def load_fitted_image_codec(params: Params, workdir: Path, device: torch.device) -> ImageCodec:
    """Raises DefectoryError where training has not finished, or no VQModel can be loaded."""
    block = params.of(VQTransformerParams).codec
    if block.kind == "pretrained":
        return load_pretrained(block.path, device)
    codec = codec_training.own_fitted_codec(params, workdir, device)
    return load_embedded(codec, block.codebook_size, workdir / IMAGE_CODEC)


def fit_prior(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train the prior on composites, real defects and clean images, and on whole clean images."""
    target, block = workdir / PRIOR, params.of(VQTransformerParams).prior
    files = [file_sha256(path) for path in (workdir / IMAGE_CODEC, workdir / PSEUDO_MASKS) if path.is_file()]
    made_from = fingerprint(
        "vq prior 2",
        block,
        params.of(VQTransformerParams).codec,
        params.masks,
        params.paint.close_up_cells,
        dataset_of(inputs, params),
        files,
    )
    if is_made(target, made_from):
        return
    seed, table = derive(params.dataset.seed, "vq prior"), pool.label_table(inputs)
    codec = load_fitted_image_codec(params, workdir, device)
    grids = _grids(inputs, params, workdir, codec, table, seed, report)
    seed_torch(seed)
    prior = _new_prior(codec, table, params)
    trainer = PriorTrainer(prior, grids, block, seed)
    train_product(trainer, target, made_from, "training the prior", report, prior.state_dict)


def load_fitted_prior(codec: ImageCodec, table: LabelTable, params: Params, workdir: Path) -> Prior:
    """Where the codec is. Raises DefectoryError where training has not finished."""
    prior = _new_prior(codec, table, params)
    prior.load_state_dict(read_safetensors(workdir / PRIOR))
    return prior.requires_grad_(False).eval()


def _new_prior(codec: ImageCodec, table: LabelTable, params: Params) -> Prior:
    block = params.of(VQTransformerParams).prior
    side = min(block.window, params.dataset.image_size // codec.factor)
    return Prior(codec.codebook_size, len(table), settings=1, window=side, params=block).to(device_of(codec))


def _grids(
    inputs: Inputs, params: Params, workdir: Path, codec: ImageCodec, table: LabelTable, seed: int, report: Report
) -> Grids:
    block = params.of(VQTransformerParams).prior
    augmented = pool.pool_images(inputs, params, block, workdir, seed, report)
    cleans = [image for category in inputs.categories for image in inputs.clean(category, TRAIN)]
    whole = [TrainingImage(c.image, c.foreground & False, c.foreground, c.category, CLEAN) for c in cleans]
    return encode_grids(codec, augmented, whole, table, lambda done, n: report("encoding training images", done, n))


def dataset_of(inputs: Inputs, params: Params) -> list[str | int]:
    return [params.dataset.seed, params.dataset.threads, params.dataset.image_size, inputs.sha256]


def seed_torch(seed: int) -> None:
    """For weights that are drawn at random: torch's layers know no generator of their own."""
    torch.manual_seed(derive(seed, "weights"))
