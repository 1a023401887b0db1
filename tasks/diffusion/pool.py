"""The training of a conditional denoiser on a pool of encoded images.

Loss: the mean squared error of the prediction, with the cells of the defect weighing more than their
surroundings and every image the same whatever its mask's area (AnomalyDiffusion, arXiv 2312.05767, masks the loss but
divides by the whole image's area, which starves small defects).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from tasks.contracts import CLEAN, TRAIN, InputImage, Mask, SampleSpec
from tasks.diffusion.codec import Codec
from tasks.diffusion.codec_training import load_fitted_codec
from tasks.diffusion.denoiser import Condition, Denoiser, LabelTable, make_condition
from tasks.diffusion.latents import cells_of, mask_tensor, to_tensor
from tasks.diffusion.schedule import stratified_timesteps, training_target
from tasks.files.hashing import file_sha256
from tasks.files.names import CODEC, PSEUDO_MASKS
from tasks.files.products import is_made
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import draw_mask, references_of
from tasks.masks.pseudo_store import read_references
from tasks.networks.device import lower_precision
from tasks.params import Params, TrainingParams
from tasks.progress import Report, silent
from tasks.seeds import derive, numpy_generator
from tasks.training.composites import MaskMaker, TrainingImage, training_images
from tasks.training.loop import AveragedTrainer, train_product

_ENCODE_BATCH = 16
_MAX_REACH = 2


@dataclass(frozen=True)
class Surroundings:
    """What is seen of images with a hole in them."""

    latents: Tensor
    """(n, channels, h, w), float16, of the images without the pixels of their holes."""
    blank: Tensor
    """(channels, h, w), of an image that is a hole as a whole."""


@dataclass(frozen=True)
class Pool:
    """Encoded training images, on the host: what an epoch is drawn from."""

    latents: Tensor
    """(n, channels, h, w), float16."""
    trimaps: Tensor
    """(n, 1, height, width), uint8 with 0, 1, 2 for 0, 0.5, 1."""
    labels: Tensor
    """(n,), int64."""
    surroundings: Surroundings | None = None
    """None where the denoiser takes no holes."""


HolePixels = Callable[[Tensor], Tensor | None]
"""Masks (n, 1, height, width) to the pixels that are taken out; see `Denoiser.hole_pixels`."""


def trimap_levels(mask: Mask, foreground: Mask) -> np.ndarray:
    """0 on the background, 1 on the object, 2 on the defect: twice the trimap, as bytes."""
    return np.where(mask, 2, foreground).astype(np.uint8)


@torch.no_grad()
def encode_pool(
    codec: Codec,
    images: Sequence[TrainingImage],
    table: LabelTable,
    report: Report = silent,
    hole_pixels: HolePixels | None = None,
) -> Pool:
    """Encode images once; in half precision a latent costs 16 KiB at 256 px."""
    latents, surroundings = [], []
    for start in range(0, len(images), _ENCODE_BATCH):
        items = images[start : start + _ENCODE_BATCH]
        batch = to_tensor([item.image for item in items], codec.device)
        latents.append(_encoded(codec, batch))
        holes = hole_pixels(mask_tensor([item.mask for item in items], codec.device)) if hole_pixels else None
        if holes is not None:
            surroundings.append(_encoded(codec, batch * (1 - holes)))
        report("encoding training images", min(start + _ENCODE_BATCH, len(images)), len(images))
    levels = np.stack([trimap_levels(item.mask, item.foreground) for item in images])
    labels = torch.tensor([table.index(item.category, item.defect_type) for item in images])
    pool = Pool(torch.cat(latents), torch.from_numpy(levels).unsqueeze(1), labels)
    if not surroundings:
        return pool
    blank = _encoded(codec, torch.zeros_like(batch[:1]))[0]
    return replace(pool, surroundings=Surroundings(torch.cat(surroundings), blank))


def _encoded(codec: Codec, images: Tensor) -> Tensor:
    with lower_precision(images.device):
        return codec.encode(images).half().cpu()


def weighted_error(prediction: Tensor, target: Tensor, cells: Tensor, inside_weight: float) -> Tensor:
    """The squared error averaged over channels and cells, those inside weighing more, then over images; a scalar."""
    weights = 1 + (inside_weight - 1) * cells
    error = (prediction.float() - target).square().mean(dim=1, keepdim=True)
    return ((error * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))).mean()


def masked_error(prediction: Tensor, target: Tensor, cells: Tensor) -> Tensor:
    """The squared error averaged over channels and the cells (n, 1, h, w) alone, then over images; a scalar."""
    error = (prediction.float() - target).square().mean(dim=1, keepdim=True)
    return ((error * cells).sum(dim=(1, 2, 3)) / cells.sum(dim=(1, 2, 3)).clamp_min(1)).mean()


@dataclass(frozen=True)
class DenoisingBatch:
    """n encoded images, how they are noised, and what the denoiser is told."""

    latents: Tensor
    """(n, channels, h, w), float16."""
    trimaps: Tensor
    """(n, 1, height, width), levels as in a pool."""
    labels: Tensor
    """(n,), some of them the empty label."""
    reach: int
    """Cells around the mask that are to be painted, too."""
    timesteps: Tensor
    """(n,)."""
    noise: Tensor
    """Like the latents, float32."""
    surroundings: Tensor | None = None
    """As in a pool; blank for an image that is to be painted whole."""


class DenoiserTrainer(AveragedTrainer[DenoisingBatch]):
    def __init__(
        self, denoiser: Denoiser, schedule: DDPMScheduler, pool: Pool, params: TrainingParams, seed: int
    ) -> None:
        super().__init__(denoiser, params, seed)
        self.denoiser, self.schedule, self.pool, self.params = denoiser, schedule, pool, params

    def draw(self, step: int) -> DenoisingBatch:
        count, generator, pool = self.params.batch_size, self.generator(step), self.pool
        chosen = torch.randint(len(pool.labels), (count,), generator=generator)
        whole = torch.rand((count, 1, 1, 1), generator=generator) < self.params.whole_share
        dropped = torch.rand(count, generator=generator) < self.params.label_dropout
        reach = int(torch.randint(_MAX_REACH + 1, (), generator=generator))
        timesteps = stratified_timesteps(count, generator)
        latents, trimaps, around = pool.latents[chosen], pool.trimaps[chosen], pool.surroundings
        return DenoisingBatch(
            latents,
            torch.where(whole, torch.full_like(trimaps, 2), trimaps),
            torch.where(dropped, self.denoiser.empty_label, pool.labels[chosen]),
            reach,
            timesteps,
            torch.randn(latents.shape, generator=generator),
            None if around is None else torch.where(whole, around.blank, around.latents[chosen]),
        )

    def loss(self, batch: DenoisingBatch) -> Tensor:
        latents, trimaps = batch.latents.float(), batch.trimaps.float() / 2
        if batch.surroundings is None:
            condition = make_condition(latents, trimaps, batch.labels, batch.reach)
        else:
            condition = Condition(trimaps, batch.surroundings.float(), batch.labels)
        noisy = self.schedule.add_noise(latents, batch.noise, batch.timesteps)
        with lower_precision(latents.device):
            prediction = self.denoiser(noisy, batch.timesteps, condition)
        target = training_target(self.schedule, latents, batch.noise, batch.timesteps)
        return self.error(prediction, target, cells_of((trimaps == 1).float(), batch.reach))

    def error(self, prediction: Tensor, target: Tensor, cells: Tensor) -> Tensor:
        """The loss of predictions (n, channels, h, w) whose cells to be painted are 1 in (n, 1, h, w); a scalar."""
        return weighted_error(prediction, target, cells, self.params.inside_weight)


def label_table(inputs: Inputs) -> LabelTable:
    return LabelTable.of((image.category, image.defect_type) for image in inputs.images if image.split == TRAIN)


def pool_sources(inputs: Inputs, params: Params, workdir: Path) -> list[Any]:
    """What a pool of encoded training images is made from."""
    files = [str(file_sha256(path)) for path in (workdir / CODEC, workdir / PSEUDO_MASKS) if path.is_file()]
    masks = [params.masks.model_dump(mode="json"), params.codec.model_dump(mode="json")]
    return [params.dataset.seed, params.dataset.threads, inputs.sha256, masks, params.paint.close_up_cells, *files]


def fit_on_pool(
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
    pool = encode_pool(codec, images, table, report, denoiser.hole_pixels)
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
    return TrainingImage(defect.image, mask, defect.foreground, defect.category, defect.defect_type, defect.group)


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
