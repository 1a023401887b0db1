"""Training of the embedded codec: an L1 and a perceptual loss on random crops.

`train_codec` serves twice: for the weights shipped with the project (see `shipped_codec.py`) and for the short
fine-tuning on a dataset's own images inside a run, whose product is done when its marker, written last, carries the
fingerprint of what it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from tasks.contracts import TRAIN, Image
from tasks.diffusion.codec import FACTOR, SHIPPED, Codec, load_codec, save_codec
from tasks.diffusion.latents import to_tensor
from tasks.files.hashing import file_sha256
from tasks.files.names import CODEC
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.networks.device import lower_precision
from tasks.networks.lpips import shared_lpips
from tasks.networks.sharing import SharedNetworks
from tasks.params import Params, fingerprint
from tasks.progress import Progress, Report
from tasks.seeds import derive, numpy_generator, torch_generator
from tasks.training.loop import Trainer, run_training

_LATENT_NOISE = 0.03
"""Standard deviation, in those of the latents: the decoder learns to stand what a denoiser leaves over."""
_LATENT_DECAY = 1e-4
_PERCEPTUAL_EVERY = 2

_STATISTICS_IMAGES = 96


def random_crop(image: Image, size: int, generator: Generator) -> Image:
    """A crop with random place, flips and quarter turns."""
    top, left = (int(generator.integers(0, side - size + 1)) for side in image.shape[:2])
    crop = np.rot90(image[top : top + size, left : left + size], int(generator.integers(0, 4)))
    return crop[:, ::-1] if generator.uniform() < 0.5 else crop


def crop_batches(images: Sequence[Image], size: int, batch_size: int, generator: Generator) -> Iterator[Tensor]:
    """Endless batches (batch_size, 3, size, size) in [-1, 1], on the host."""
    while True:
        chosen = generator.integers(0, len(images), batch_size)
        yield to_tensor([random_crop(images[i], size, generator) for i in chosen])


def codec_loss(codec: Codec, images: Tensor, lpips_weight: float, noise: Tensor) -> Tensor:
    """Mean absolute error + lpips_weight * LPIPS, a scalar; `noise` has the latents' shape."""
    with lower_precision(images.device):
        latents = codec.encode_raw(images)
        disturbed = latents + _LATENT_NOISE * latents.detach().std() * noise
        rebuilt = codec.decode_raw(disturbed)
        perceptual = rebuilt.new_zeros(())
        if lpips_weight:
            perceptual = shared_lpips(device=images.device)(rebuilt, images).mean()
    error = (rebuilt.float() - images).abs().mean()
    return error + lpips_weight * perceptual.float() + _LATENT_DECAY * latents.float().square().mean()


@dataclass(frozen=True)
class CodecRecipe:
    """How long and how fast."""

    steps: int
    learning_rate: float
    lpips_weight: float

    @property
    def checkpoint_every(self) -> int:
        """Never: it is over before a checkpoint would be worth its while."""
        return self.steps + 1


@dataclass(frozen=True)
class CodecBatch:
    images: Tensor
    """(n, 3, height, width) in [-1, 1]."""
    noise: Tensor
    """Like their latents, standard normal."""


class CodecTrainer(Trainer[CodecBatch]):
    """AdamW with a one-cycle learning rate. Its batches go on from one another, so that it cannot be resumed."""

    def __init__(
        self, codec: Codec, batches: Iterator[Tensor], recipe: CodecRecipe, generator: torch.Generator
    ) -> None:
        """`batches` (n, 3, height, width) in [-1, 1] and `generator` are on the host, `codec` where it is trained."""
        codec.requires_grad_(True)
        optimizer = torch.optim.AdamW(codec.network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        super().__init__(codec, [optimizer], recipe, seed=0)
        self.codec, self.batches, self.noise, self.lpips_weight = codec, batches, generator, recipe.lpips_weight
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05
        )

    def draw(self, step: int) -> CodecBatch:
        images = next(self.batches)
        shape = (len(images), self.codec.latent_channels, images.shape[2] // FACTOR, images.shape[3] // FACTOR)
        return CodecBatch(images, torch.randn(shape, generator=self.noise))

    def set_learning_rate(self) -> None:
        """The schedule sets it after each step."""

    def update(self, batch: CodecBatch) -> Tensor:
        # The perceptual term costs as much as the rest: it takes every second step, at twice the weight.
        weight = self.lpips_weight * _PERCEPTUAL_EVERY if self.step % _PERCEPTUAL_EVERY == 0 else 0.0
        loss = codec_loss(self.codec, batch.images, weight, batch.noise)
        self.optimizers[0].zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.codec.network.parameters(), 1.0)
        self.optimizers[0].step()
        self.schedule.step()
        return loss.detach()


def train_codec(
    codec: Codec,
    batches: Iterator[Tensor],
    recipe: CodecRecipe,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> list[float]:
    """Train in place; returns the losses, one a step."""
    trainer = CodecTrainer(codec, batches, recipe, generator)
    losses = run_training(trainer, progress=progress)
    trainer.finish()
    return losses


def fit_codec(inputs: Inputs, params: Params, workdir: Path, device: torch.device, report: Report) -> None:
    """Fine-tune the shipped codec on the train split's images; a pretrained one is taken as it is."""
    target = workdir / CODEC
    made_from = fingerprint(
        "codec 2", params.codec, params.dataset.seed, params.dataset.threads, inputs.sha256, file_sha256(SHIPPED)
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


_CODECS: SharedNetworks[Codec] = SharedNetworks()


def load_fitted_codec(params: Params, workdir: Path, device: torch.device) -> Codec:
    """One copy for all who hold it; who wants to change one takes `own_fitted_codec`."""
    path = workdir / CODEC
    weights = file_sha256(path) if path.is_file() else ""
    made_from = fingerprint(params.codec, str(path), weights, str(device))
    return _CODECS.get(made_from, lambda: own_fitted_codec(params, workdir, device))


def own_fitted_codec(params: Params, workdir: Path, device: torch.device) -> Codec:
    return load_codec(params.codec, workdir / CODEC, device)
