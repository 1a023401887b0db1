"""Training of the embedded codec: an L1 and a perceptual loss on random crops.

`train_codec` serves twice: for the weights shipped with the project (see `shipped_codec.py`) and for the
short fine-tuning on a user's own images inside a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from tasks.contracts import Image
from tasks.diffusion.codec import Codec
from tasks.progress import Progress
from tasks.quality.perceptual import shared_lpips

_LATENT_NOISE = 0.03
"""Standard deviation, in those of the latents: the decoder learns to stand what a denoiser leaves over."""
_LATENT_DECAY = 1e-4
_PERCEPTUAL_EVERY = 2


def to_tensor(images: Sequence[Image]) -> Tensor:
    """uint8 (height, width, 3) images to a float tensor (n, 3, height, width) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def random_crop(image: Image, size: int, generator: Generator) -> Image:
    """A crop with random place, flips and quarter turns."""
    top, left = (int(generator.integers(0, side - size + 1)) for side in image.shape[:2])
    crop = np.rot90(image[top : top + size, left : left + size], int(generator.integers(0, 4)))
    return crop[:, ::-1] if generator.uniform() < 0.5 else crop


def crop_batches(images: Sequence[Image], size: int, batch_size: int, generator: Generator) -> Iterator[Tensor]:
    """Endless batches (batch_size, 3, size, size) in [-1, 1]."""
    while True:
        chosen = generator.integers(0, len(images), batch_size)
        yield to_tensor([random_crop(images[i], size, generator) for i in chosen])


def codec_loss(codec: Codec, images: Tensor, lpips_weight: float, noise: Tensor) -> Tensor:
    """Mean absolute error + lpips_weight * LPIPS, a scalar; `noise` has the latents' shape."""
    with torch.autocast(images.device.type, torch.bfloat16):
        latents = codec.encode_raw(images)
        disturbed = latents + _LATENT_NOISE * latents.detach().std() * noise
        rebuilt = codec.decode_raw(disturbed)
        perceptual = shared_lpips()(rebuilt, images).mean() if lpips_weight else rebuilt.new_zeros(())
    error = (rebuilt.float() - images).abs().mean()
    return error + lpips_weight * perceptual.float() + _LATENT_DECAY * latents.float().square().mean()


def train_codec(
    codec: Codec,
    batches: Iterator[Tensor],
    steps: int,
    learning_rate: float,
    lpips_weight: float,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> list[float]:
    """Train in place with AdamW and a one-cycle learning rate; returns the losses, one a step."""
    codec.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(codec.network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.05)
    losses = []
    for step in range(steps):
        images = next(batches)
        shape = (len(images), codec.latent_channels, images.shape[2] // 8, images.shape[3] // 8)
        noise = torch.randn(shape, generator=generator)
        # The perceptual term costs as much as the rest: it takes every second step, at twice the weight.
        weight = lpips_weight * _PERCEPTUAL_EVERY if step % _PERCEPTUAL_EVERY == 0 else 0.0
        loss = codec_loss(codec, images, weight, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if progress:
            progress(step + 1, steps)
    codec.requires_grad_(False).eval()
    return losses
