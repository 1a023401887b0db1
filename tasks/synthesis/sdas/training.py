"""The training of a diffusion model on a dataset's clean images, of the train split alone.

In: clean images of all categories, and a codec where the model works on latents. Out: `clean_diffusion.safetensors`.
The loss is the plain mean squared error of the prediction; the variance is fixed, so RealNet's bound on it falls away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from numpy.random import Generator
from torch import Tensor

from tasks.contracts import TRAIN, Image
from tasks.diffusion.codec import Codec
from tasks.diffusion.latents import to_tensor
from tasks.diffusion.schedule import stratified_timesteps, training_target
from tasks.files.hashing import file_sha256
from tasks.files.names import CODEC
from tasks.files.products import is_made
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST, lower_precision
from tasks.params import Params, fingerprint
from tasks.params.systems import SdasModelParams, SdasParams
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.synthesis.sdas.denoiser import PIXEL_CHANNELS, CleanDenoiser, new_clean_denoiser
from tasks.training.closeup import Window, magnify_image
from tasks.training.loop import AveragedTrainer, load_product, train_product

CLEAN_DIFFUSION = "clean_diffusion.safetensors"
_ENCODE_BATCH = 16
_MAGNIFICATIONS = (2, 4)


@dataclass(frozen=True)
class CleanPool:
    """Encoded clean images, on the host: what a batch is drawn from."""

    images: Tensor
    """(n, channels, h, w), float16: latents, or pixels in [-1, 1]."""
    categories: Tensor
    """(n,), int64."""


@dataclass(frozen=True)
class CleanBatch:
    """Rows of a pool, and how they are noised."""

    images: Tensor
    categories: Tensor
    timesteps: Tensor
    """(n,)."""
    noise: Tensor
    """Like the images, float32."""


class CleanTrainer(AveragedTrainer[CleanBatch]):
    def __init__(
        self, denoiser: CleanDenoiser, schedule: DDPMScheduler, pool: CleanPool, params: SdasModelParams, seed: int
    ) -> None:
        super().__init__(denoiser, params, seed)
        self.denoiser, self.schedule, self.pool, self.params = denoiser, schedule, pool, params

    def draw(self, step: int) -> CleanBatch:
        count, generator = self.params.batch_size, self.generator(step)
        chosen = torch.randint(len(self.pool.categories), (count,), generator=generator)
        images, timesteps = self.pool.images[chosen], stratified_timesteps(count, generator)
        return CleanBatch(
            images, self.pool.categories[chosen], timesteps, torch.randn(images.shape, generator=generator)
        )

    def loss(self, batch: CleanBatch) -> Tensor:
        images = batch.images.float()
        noisy = self.schedule.add_noise(images, batch.noise, batch.timesteps)
        with lower_precision(images.device):
            prediction = self.denoiser(noisy, batch.timesteps, batch.categories)
        target = training_target(self.schedule, images, batch.noise, batch.timesteps)
        return (prediction.float() - target).square().mean()


@torch.no_grad()
def to_space(codec: Codec | None, pixels: Tensor) -> Tensor:
    """Images (n, 3, height, width) in [-1, 1] in the space that is diffused: latents, without a codec as they are."""
    if codec is None:
        return pixels
    with lower_precision(pixels.device):
        return codec.encode(pixels).float()


def clean_views(images: list[Image], count: int, close_up_share: float, generator: Generator) -> Iterator[Image]:
    """`count` images, each of the given ones as often as the others; a share of them magnified parts."""
    for number in range(count):
        image = images[number % len(images)]
        if generator.uniform() < close_up_share:
            side = len(image) // int(generator.choice(_MAGNIFICATIONS))
            top, left = (int(place) for place in generator.integers(0, len(image) - side + 1, 2))
            image = magnify_image(image, Window(top, left, side))
        yield image


def encode_clean_pool(
    inputs: Inputs, params: SdasModelParams, codec: Codec | None, seed: int, report: Report
) -> CleanPool:
    """`views_per_category` views of the train split's clean images of every category."""
    generator = numpy_generator(derive(seed, "pool"))
    count = params.views_per_category
    encoded: list[Tensor] = []
    for number, category in enumerate(inputs.categories):
        cleans = [clean.image for clean in inputs.clean(category, TRAIN)]
        views = list(clean_views(cleans, count, params.close_up_share, generator))
        for start in range(0, count, _ENCODE_BATCH):
            report("encoding clean images", number * count + start, len(inputs.categories) * count)
            pixels = to_tensor(views[start : start + _ENCODE_BATCH], codec.device if codec else HOST)
            encoded.append(to_space(codec, pixels).half().cpu())
    return CleanPool(torch.cat(encoded), torch.arange(len(inputs.categories)).repeat_interleave(count))


def fit_clean_diffusion(
    inputs: Inputs, params: Params, codec: Codec | None, workdir: Path, device: torch.device, report: Report
) -> None:
    """Train the model that `sdas.model` names; goes on from a checkpoint, and makes nothing twice."""
    target, model = workdir / CLEAN_DIFFUSION, params.of(SdasParams).model
    made_from = _made_from(inputs, params, codec, workdir)
    if is_made(target, made_from):
        return
    seed = derive(params.dataset.seed, "clean diffusion")
    denoiser, schedule = _new(inputs, model, codec, seed)
    if not denoiser.trained_state():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    pool = encode_clean_pool(inputs, model, codec, seed, report)
    trainer = CleanTrainer(denoiser.to(device), schedule, pool, model, seed)
    train_product(trainer, target, made_from, "training on clean images", report, denoiser.trained_state)


def _made_from(inputs: Inputs, params: Params, codec: Codec | None, workdir: Path) -> str:
    dataset = [params.dataset.seed, params.dataset.threads, inputs.sha256]
    if codec is None:
        return fingerprint("clean diffusion 2", params.of(SdasParams).model, dataset)
    fitted = file_sha256(workdir / CODEC) if (workdir / CODEC).is_file() else ""
    return fingerprint("clean diffusion 2", params.of(SdasParams).model, dataset, params.codec, fitted)


def load_clean_diffusion(
    inputs: Inputs, params: Params, codec: Codec | None, workdir: Path, device: torch.device
) -> tuple[CleanDenoiser, DDPMScheduler]:
    """The trained denoiser and its schedule. Raises DefectoryError where `train` has not finished."""
    denoiser, schedule = _new(inputs, params.of(SdasParams).model, codec, seed=0)
    if denoiser.trained_state():
        load_product(denoiser, workdir / CLEAN_DIFFUSION)
    return denoiser.requires_grad_(False).eval().to(device), schedule


def _new(
    inputs: Inputs, params: SdasModelParams, codec: Codec | None, seed: int
) -> tuple[CleanDenoiser, DDPMScheduler]:
    channels = PIXEL_CHANNELS if codec is None else codec.latent_channels
    return new_clean_denoiser(params, channels, inputs.categories, seed)
