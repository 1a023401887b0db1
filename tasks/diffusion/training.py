"""The training loop of a conditional denoiser on a pool of encoded images: resumable, seeded, on any device.

Loss: the mean squared error of the prediction, with the cells of the defect weighing more than their
surroundings and every image the same whatever its mask's area (AnomalyDiffusion, arXiv 2312.05767, masks the loss but
divides by the whole image's area, which starves small defects).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.contracts import Mask
from tasks.diffusion.blending import cells_of
from tasks.diffusion.codec import Codec
from tasks.diffusion.codec_training import to_tensor
from tasks.diffusion.composites import TrainingImage
from tasks.diffusion.denoiser import Denoiser, make_condition
from tasks.diffusion.labels import LabelTable
from tasks.diffusion.schedule import add_noise, stratified_timesteps, training_target
from tasks.params import DenoiserParams
from tasks.progress import Progress
from tasks.seeds import derive, torch_generator

_ENCODE_BATCH = 16
_MAX_REACH = 2
_WARM_UP_STEPS = 50


@dataclass(frozen=True)
class Pool:
    """Encoded training images: what an epoch is drawn from."""

    latents: Tensor
    """(n, channels, h, w), float16."""
    trimaps: Tensor
    """(n, 1, height, width), uint8 with 0, 1, 2 for 0, 0.5, 1."""
    labels: Tensor
    """(n,), int64."""


def trimap_levels(mask: Mask, foreground: Mask) -> np.ndarray:
    """0 on the background, 1 on the object, 2 on the defect: twice the trimap, as bytes."""
    return np.where(mask, 2, foreground).astype(np.uint8)


@torch.no_grad()
def encode_pool(
    codec: Codec, images: Sequence[TrainingImage], table: LabelTable, progress: Progress | None = None
) -> Pool:
    """Encode images once; in half precision a latent costs 16 KiB at 256 px."""
    latents = []
    for start in range(0, len(images), _ENCODE_BATCH):
        batch = to_tensor([item.image for item in images[start : start + _ENCODE_BATCH]])
        with torch.autocast(batch.device.type, torch.bfloat16):
            latents.append(codec.encode(batch).half())
        if progress:
            progress(min(start + _ENCODE_BATCH, len(images)), len(images))
    levels = np.stack([trimap_levels(item.mask, item.foreground) for item in images])
    labels = [table.index(item.category, item.defect_type) for item in images]
    return Pool(torch.cat(latents), torch.from_numpy(levels).unsqueeze(1), torch.tensor(labels))


def weighted_error(prediction: Tensor, target: Tensor, cells: Tensor, inside_weight: float) -> Tensor:
    """The squared error averaged over channels and cells, those inside weighing more, then over images; a scalar."""
    weights = 1 + (inside_weight - 1) * cells
    error = (prediction.float() - target).square().mean(dim=1, keepdim=True)
    return ((error * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))).mean()


class Trainer:
    """Holds what a checkpoint holds: weights, their moving average, the optimizer and the step."""

    def __init__(self, denoiser: Denoiser, schedule: DDPMScheduler, params: DenoiserParams, seed: int) -> None:
        self.denoiser, self.params, self.seed, self.step = denoiser, params, seed, 0
        trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        self.trained = trained
        self.optimizer = torch.optim.AdamW(
            trained, lr=params.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.average = EMAModel(trained, decay=params.ema_decay, use_ema_warmup=True, power=0.75)
        self.schedule = schedule

    def loss(self, pool: Pool, generator: torch.Generator) -> Tensor:
        count = self.params.batch_size
        chosen = torch.randint(len(pool.labels), (count,), generator=generator)
        latents, trimaps = pool.latents[chosen].float(), pool.trimaps[chosen].float() / 2
        dropped = torch.rand(count, generator=generator) < self.params.label_dropout
        labels = torch.where(dropped, self.denoiser.empty_label, pool.labels[chosen])
        reach = int(torch.randint(_MAX_REACH + 1, (), generator=generator))
        condition = make_condition(latents, trimaps, labels, reach)
        timesteps = stratified_timesteps(count, generator)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = add_noise(self.schedule, latents, noise, timesteps)
        with torch.autocast(latents.device.type, torch.bfloat16):
            prediction = self.denoiser(noisy, timesteps, condition)
        target = training_target(self.schedule, latents, noise, timesteps)
        cells = cells_of((trimaps == 1).float(), reach)
        return weighted_error(prediction, target, cells, self.params.inside_weight)

    def advance(self, pool: Pool) -> float:
        """One step; its random numbers depend on the seed and the step alone, so resuming changes nothing."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.params.learning_rate * learning_rate_share(self.step, self.params.steps)
        loss = self.loss(pool, torch_generator(derive(self.seed, f"step {self.step}")))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.average.step(self.trained)
        self.step += 1
        return loss.item()

    def save(self, path: Path, made_from: str) -> None:
        """Write a checkpoint; it appears whole or not at all."""
        tensors = {f"weights.{i}": p.detach().contiguous() for i, p in enumerate(self.trained)}
        tensors |= {f"average.{i}": p.contiguous() for i, p in enumerate(self.average.shadow_params)}
        for i, parameter in enumerate(self.trained):
            state = self.optimizer.state[parameter]
            tensors |= {f"optimizer.{i}.{name}": value.contiguous() for name, value in state.items()}
        temporary = path.with_suffix(".partial")
        save_file(tensors, temporary, metadata={"step": str(self.step), "made_from": made_from})
        temporary.replace(path)

    def resume_from(self, path: Path, made_from: str) -> None:
        """Go on from a checkpoint that was made from exactly this; any other one is left alone."""
        if not path.is_file():
            return
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        if metadata["made_from"] == made_from:
            self._restore(load_file(path), int(metadata["step"]))

    def _restore(self, tensors: dict[str, Tensor], step: int) -> None:
        with torch.no_grad():
            for i, (parameter, shadow) in enumerate(zip(self.trained, self.average.shadow_params, strict=True)):
                parameter.copy_(tensors[f"weights.{i}"])
                shadow.copy_(tensors[f"average.{i}"])
                # The moments take the parameter's own memory layout: the fused optimizer walks all of them in step.
                moments = {
                    name: torch.empty_like(parameter).copy_(tensors[f"optimizer.{i}.{name}"])
                    for name in ("exp_avg", "exp_avg_sq")
                }
                self.optimizer.state[parameter] = {"step": tensors[f"optimizer.{i}.step"], **moments}
        self.average.optimization_step = self.step = step

    def finish(self) -> Denoiser:
        """The denoiser with the averaged weights, in evaluation mode."""
        self.average.copy_to(self.trained)
        return self.denoiser.requires_grad_(False).eval()


def learning_rate_share(step: int, steps: int) -> float:
    """A short linear warm-up, then half a cosine down to a twentieth."""
    warm_up = max(1, min(_WARM_UP_STEPS, steps // 10))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * (step - warm_up) / max(1, steps - warm_up))))


def train(
    trainer: Trainer, pool: Pool, checkpoint: Path, made_from: str, progress: Progress | None = None
) -> list[float]:
    """Advance to `params.steps`, saving every `checkpoint_every` steps; returns the losses of the steps taken here."""
    losses = []
    trainer.denoiser.train()
    while trainer.step < trainer.params.steps:
        losses.append(trainer.advance(pool))
        if trainer.step % trainer.params.checkpoint_every == 0:
            trainer.save(checkpoint, made_from)
        if progress:
            progress(trainer.step, trainer.params.steps)
    return losses
