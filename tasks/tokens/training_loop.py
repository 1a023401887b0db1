"""A training loop that can be killed anywhere: steps whose randomness is their number's, and checkpoints.

In: what is trained, as a `Training`. Out: the same trained in place, bit for bit what an undisturbed run gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tasks.diffusion.codec import write_safetensors
from tasks.diffusion.resumable import learning_rate_share, read_checkpoint
from tasks.progress import Progress


class Training(Protocol):
    """Networks, their optimizers, and how one step goes."""

    networks: nn.ModuleDict
    optimizers: Sequence[Optimizer]
    """Of the Adam family; every parameter has had its gradient by the first checkpoint or has no state."""
    learning_rate: float

    def advance(self, step: int) -> float:
        """One step, a function of the networks, the optimizers and the step's number alone; returns the loss."""


def train(
    training: Training, steps: int, every: int, checkpoint: Path, made_from: str, progress: Progress | None = None
) -> list[float]:
    """Go on from a checkpoint made from exactly this to `steps`; returns the losses of the steps taken here."""
    training.networks.train()
    losses = []
    for step in range(_resumed(training, checkpoint, made_from), steps):
        for optimizer in training.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * learning_rate_share(step, steps)
        losses.append(training.advance(step))
        if (step + 1) % every == 0:
            save_checkpoint(training, step + 1, checkpoint, made_from)
        if progress:
            progress(step + 1, steps)
    training.networks.requires_grad_(False).eval()
    return losses


def save_checkpoint(training: Training, step: int, path: Path, made_from: str) -> None:
    """It appears whole or not at all."""
    tensors = {f"weights.{name}": tensor for name, tensor in training.networks.state_dict().items()}
    for name, parameter, optimizer in _parameters(training):
        tensors |= {f"{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    whole = {name: tensor.detach() for name, tensor in tensors.items()}
    write_safetensors(path, whole, {"step": str(step), "made_from": made_from})


def _resumed(training: Training, path: Path, made_from: str) -> int:
    """The step to go on from; any checkpoint of something else is left alone."""
    checkpoint = read_checkpoint(path, made_from)
    if checkpoint is None:
        return 0
    tensors, step = checkpoint
    prefix = "weights."
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    training.networks.load_state_dict(weights)
    for name, parameter, optimizer in _parameters(training):
        if f"step.{name}" in tensors:
            optimizer.state[parameter] = _state_of(name, parameter, tensors)
    return step


def _state_of(name: str, parameter: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # The moments take the parameter's own memory layout: a fused optimizer walks all of them in step.
    moments = {key: torch.empty_like(parameter).copy_(tensors[f"{key}.{name}"]) for key in ("exp_avg", "exp_avg_sq")}
    return {"step": tensors[f"step.{name}"], **moments}


def _parameters(training: Training) -> list[tuple[str, nn.Parameter, Optimizer]]:
    names = {parameter: name for name, parameter in training.networks.named_parameters()}
    return [
        (names[parameter], parameter, optimizer)
        for optimizer in training.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
