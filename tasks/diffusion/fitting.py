"""What `train` makes for one dataset, each product once: the fine-tuned codec, pseudo-masks, the denoiser.

A product is done when its marker, written last, carries the fingerprint of what it was made from; then it
is not made again. The denoiser also leaves checkpoints, and goes on from the last one after a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import DDPMScheduler

from tasks.contracts import CLEAN, TRAIN, InputImage, Mask, SampleSpec
from tasks.diffusion.codec import SHIPPED, Codec, load_codec, save_codec
from tasks.diffusion.codec_training import CodecRecipe, crop_batches, train_codec
from tasks.diffusion.denoiser import Denoiser, LabelTable, build_embedded
from tasks.diffusion.latents import to_tensor
from tasks.diffusion.pool import DenoiserTrainer, encode_pool
from tasks.diffusion.schedule import load_backbone, training_schedule
from tasks.diffusion.text_backbone import TextBackbone, new_backbone
from tasks.files.atomic import file_sha256
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import draw_mask, references_of
from tasks.masks.pseudo import pseudo_masks
from tasks.masks.pseudo_store import PSEUDO_MASKS, PseudoMask, read_references, write_pseudo_masks
from tasks.params import Params, TrainingParams, fingerprint
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.training.composites import MaskMaker, TrainingImage, training_images
from tasks.training.loop import load_product, train_product

CODEC = "codec.safetensors"
DENOISER = "denoiser.safetensors"
BACKBONE = "backbone.safetensors"
_SPECK_SHARE = 0.0006
"""Of the image: smaller pseudo-masks are taken for noise."""
_CLEAN_FOR_PSEUDO = 400
_STATISTICS_IMAGES = 96


def label_table(inputs: Inputs) -> LabelTable:
    return LabelTable.of((image.category, image.defect_type) for image in inputs.images if image.split == TRAIN)


def fit_codec(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fine-tune the shipped codec on the train split's images; a pretrained one is taken as it is."""
    target = workdir / CODEC
    made_from = fingerprint(
        "codec 1", params.codec, params.dataset.seed, params.dataset.threads, inputs.sha256, file_sha256(SHIPPED)
    )
    if params.codec.kind == "pretrained" or is_made(target, made_from):
        return
    codec = load_codec(params.codec, device=device)
    images = [image.image for image in inputs.images if image.split == TRAIN]
    seed = derive(params.dataset.seed, "codec")
    batches = crop_batches(images, params.codec.crop, params.codec.batch_size, numpy_generator(seed))
    if params.codec.fine_tune_steps:
        recipe = CodecRecipe(params.codec.fine_tune_steps, params.codec.learning_rate, params.codec.lpips_weight)
        progress = lambda done, steps: report("fine-tuning the codec", done, steps)  # noqa: E731
        train_codec(codec, batches, recipe, torch_generator(seed), progress)
    some = images[:: max(1, len(images) // _STATISTICS_IMAGES)][:_STATISTICS_IMAGES]
    codec.normalise_latents(to_tensor(some[i : i + 16], device) for i in range(0, len(some), 16))
    save_codec(codec, target)
    mark_made(target, made_from)


def load_fitted_codec(params: Params, workdir: Path, device: torch.device) -> Codec:
    return load_codec(params.codec, workdir / CODEC, device)


def fit_pseudo_masks(inputs: Inputs, params: Params, workdir: Path, report: Report) -> None:
    """Pseudo-masks for the train split's defects that have an image label only; none where all have masks."""
    target = workdir / PSEUDO_MASKS
    made_from = fingerprint("pseudo 1", params.masks, inputs.sha256)
    if is_made(target, made_from):
        return
    rows: list[PseudoMask] = []
    for category in inputs.categories:
        defects = [defect for defect in inputs.defects(category, TRAIN) if defect.mask is None]
        cleans = inputs.clean(category, TRAIN)
        if not defects:
            continue
        found = pseudo_masks(
            [(defect.image, defect.foreground) for defect in defects],
            [(clean.image, clean.foreground) for clean in cleans[:: max(1, len(cleans) // _CLEAN_FOR_PSEUDO)]],
            params.masks.pseudo_quantile,
            params.masks.pseudo_polarity,
            _SPECK_SHARE,
            lambda done, count, name=category: report(f"pseudo-masks of {name}", done, count),  # type: ignore[misc]
        )
        rows += [PseudoMask(d, anomaly, mask) for d, (anomaly, mask) in zip(defects, found, strict=True)]
    write_pseudo_masks(target, rows)
    mark_made(target, made_from)


def fit_denoiser(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train AdaBLDM's denoiser on composites, real defects and clean images."""
    seed = derive(params.dataset.seed, "denoiser")
    made_from = fingerprint("denoiser 2", params.denoiser, params.paint.prompt, _pool_sources(inputs, params, workdir))

    def new(codec: Codec, table: LabelTable) -> tuple[Denoiser, DDPMScheduler]:
        return _new_denoiser(codec, table, params, seed)

    _fit_on_pool(inputs, params, params.denoiser, workdir / DENOISER, made_from, seed, new, device, report)


def fit_backbone(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Train the embedded text backbone on the same images; a pretrained one is taken as it is."""
    if params.backbone.kind == "pretrained":
        return
    seed = derive(params.dataset.seed, "backbone")
    made_from = fingerprint("backbone 1", params.backbone, _pool_sources(inputs, params, workdir))

    def new(codec: Codec, table: LabelTable) -> tuple[Denoiser, DDPMScheduler]:
        return new_backbone(params.backbone, codec.latent_channels, table, seed)

    _fit_on_pool(inputs, params, params.backbone, workdir / BACKBONE, made_from, seed, new, device, report)


def _pool_sources(inputs: Inputs, params: Params, workdir: Path) -> list[Any]:
    """What a pool of encoded training images is made from."""
    files = [str(file_sha256(path)) for path in (workdir / CODEC, workdir / PSEUDO_MASKS) if path.is_file()]
    masks = [params.masks.model_dump(mode="json"), params.codec.model_dump(mode="json")]
    return [params.dataset.seed, params.dataset.threads, inputs.sha256, masks, params.paint.close_up_cells, *files]


def _fit_on_pool(
    inputs: Inputs,
    params: Params,
    training: TrainingParams,
    target: Path,
    made_from: str,
    seed: int,
    new: Callable[[Codec, LabelTable], tuple[Denoiser, DDPMScheduler]],
    device: torch.device,
    report: Report,
) -> None:
    """Train a new denoiser on a pool of images into `target`; goes on from a checkpoint of the same fingerprint."""
    if is_made(target, made_from):
        return
    codec, table = load_fitted_codec(params, target.parent, device), label_table(inputs)
    denoiser, schedule = new(codec, table)
    images = pool_images(inputs, params, training, target.parent, seed, report)
    pool = encode_pool(codec, images, table, lambda done, count: report("encoding training images", done, count))
    trainer = DenoiserTrainer(denoiser.to(device), schedule, pool, training, seed)
    train_product(trainer, target, made_from, f"training the {target.stem}", report, denoiser.trained_state)


class PoolParams(Protocol):
    """What a pool of training images reads of a block of params."""

    @property
    def pool_size(self) -> int: ...
    @property
    def composite_share(self) -> float: ...


def pool_images(
    inputs: Inputs, params: Params, training: PoolParams, workdir: Path, seed: int, report: Report
) -> list[TrainingImage]:
    """`training.pool_size` training images, in equal parts from all categories."""
    pseudo = {made.reference_id: made.mask for made in read_references(workdir / PSEUDO_MASKS)}
    make_mask = _mask_maker(inputs, params, workdir)
    share = training.pool_size // len(inputs.categories)
    images: list[TrainingImage] = []
    for number, category in enumerate(inputs.categories):
        report("composing training images", number, len(inputs.categories))
        images += training_images(
            inputs.clean(category, TRAIN),
            [made for defect in inputs.defects(category, TRAIN) if (made := _supervised(defect, pseudo))],
            share,
            training.composite_share,
            params.paint.close_up_cells,
            params.masks,
            make_mask,
            numpy_generator(derive(seed, f"pool {category}")),
        )
    return images


def _supervised(defect: InputImage, pseudo: dict[str, Mask]) -> TrainingImage | None:
    """A defect with its mask or its pseudo-mask; None without either, or with an empty one."""
    mask = defect.mask if defect.mask is not None else pseudo.get(defect.image_id)
    if mask is None or not mask.any():
        return None
    return TrainingImage(defect.image, mask, defect.foreground, defect.category, defect.defect_type)


def _mask_maker(inputs: Inputs, params: Params, workdir: Path) -> MaskMaker:
    """Masks for clean training images, of the kinds that samples will have."""
    references = references_of(inputs, read_references(workdir / PSEUDO_MASKS))
    sources = sorted(params.masks.sources)
    shares = np.array([params.masks.sources[name] for name in sources])

    def make(clean: InputImage, seed: int) -> Mask:
        source = str(numpy_generator(seed).choice(sources, p=shares / shares.sum()))
        spec = SampleSpec("training", "", clean.category, CLEAN, 0, clean.image_id, source, 0.0, seed)
        return draw_mask(spec, clean, references, params.masks).mask

    return make


def _new_denoiser(codec: Codec, table: LabelTable, params: Params, seed: int) -> tuple[Denoiser, DDPMScheduler]:
    if params.denoiser.kind == "pretrained":
        return load_backbone(params.denoiser.path, table, params.paint.prompt, seed)
    return build_embedded(params.denoiser, codec.latent_channels, len(table), seed), training_schedule()


def load_fitted_denoiser(
    codec: Codec, table: LabelTable, params: Params, workdir: Path, device: torch.device
) -> tuple[Denoiser, DDPMScheduler]:
    """The trained denoiser and its schedule. Raises DefectoryError where `train` has not finished."""
    denoiser, schedule = _new_denoiser(codec, table, params, seed=0)
    load_product(denoiser, workdir / DENOISER)
    return denoiser.to(device), schedule


def load_fitted_backbone(
    inputs: Inputs, params: Params, workdir: Path, device: torch.device
) -> tuple[TextBackbone, DDPMScheduler, Codec]:
    """The text backbone, its schedule and the codec. Raises DefectoryError where `train` has not finished."""
    codec = load_fitted_codec(params, workdir, device)
    backbone, schedule = new_backbone(params.backbone, codec.latent_channels, label_table(inputs), seed=0)
    if params.backbone.kind == "embedded":
        load_product(backbone, workdir / BACKBONE)
    return backbone.requires_grad_(False).eval().to(device), schedule, codec
