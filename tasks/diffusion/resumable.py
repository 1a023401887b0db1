"""The training loop of every diffusion model here: seeded, resumable, averaged, on any device.

In: a network, what it is trained on, and a loss. Out: the network with the moving average of its weights. A step's
random numbers depend on the seed and the step alone, so a run that was killed and resumed ends in the same bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.contracts import DefectoryError
from tasks.diffusion.codec import read_safetensors, write_safetensors
from tasks.products import checkpoint_of, mark_made
from tasks.progress import Progress, Report
from tasks.seeds import derive, torch_generator

_WARM_UP_STEPS = 50


class Recipe(Protocol):
    """What the loop reads of a block of params."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def ema_decay(self) -> float: ...
    @property
    def checkpoint_every(self) -> int: ...


Examples = TypeVar("Examples")
"""What a batch is drawn from."""


class ResumableTrainer(ABC, Generic[Examples]):
    """Holds what a checkpoint holds: weights, their moving average, the optimizer and the step."""

    def __init__(self, network: nn.Module, recipe: Recipe, seed: int) -> None:
        """Trains those parameters of `network` that require a gradient."""
        self.network, self.recipe, self.seed, self.step = network, recipe, seed, 0
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.trained = trained
        self.optimizer = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.average = EMAModel(trained, decay=recipe.ema_decay, use_ema_warmup=True, power=0.75)

    @abstractmethod
    def loss(self, examples: Examples, generator: torch.Generator) -> Tensor:
        """A scalar; all randomness is the generator's."""

    def advance(self, examples: Examples) -> float:
        """One step; its random numbers depend on the seed and the step alone, so resuming changes nothing."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * learning_rate_share(self.step, self.recipe.steps)
        loss = self.loss(examples, torch_generator(derive(self.seed, f"step {self.step}")))
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
        write_safetensors(path, tensors, {"step": str(self.step), "made_from": made_from})

    def resume_from(self, path: Path, made_from: str) -> None:
        """Go on from a checkpoint that was made from exactly this; any other one is left alone."""
        if checkpoint := read_checkpoint(path, made_from):
            self._restore(*checkpoint)

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

    def finish(self) -> None:
        """Give the network its averaged weights, in evaluation mode."""
        self.average.copy_to(self.trained)
        self.network.requires_grad_(False).eval()


def read_checkpoint(path: Path, made_from: str) -> tuple[dict[str, Tensor], int] | None:
    """Tensors and step of a checkpoint; None where there is none, it is damaged, or it was made from something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        return (load_file(path), int(metadata["step"])) if metadata["made_from"] == made_from else None
    except (OSError, SafetensorError):
        return None


def learning_rate_share(step: int, steps: int) -> float:
    """A short linear warm-up, then half a cosine down to a twentieth."""
    warm_up = max(1, min(_WARM_UP_STEPS, steps // 10))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * (step - warm_up) / max(1, steps - warm_up))))


def train(
    trainer: ResumableTrainer[Examples],
    examples: Examples,
    checkpoint: Path,
    made_from: str,
    progress: Progress | None = None,
) -> list[float]:
    """Advance to `recipe.steps`, saving every `checkpoint_every` steps; returns the losses of the steps taken here."""
    losses = []
    trainer.network.train()
    while trainer.step < trainer.recipe.steps:
        losses.append(trainer.advance(examples))
        if trainer.step % trainer.recipe.checkpoint_every == 0:
            trainer.save(checkpoint, made_from)
        if progress:
            progress(trainer.step, trainer.recipe.steps)
    return losses


class Product(Protocol):
    """A network of which a part is trained and worth a file."""

    def trained_state(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...
    def requires_grad_(self, requires_grad: bool = True) -> Any: ...
    def eval(self) -> Any: ...


def load_product(network: Product, path: Path) -> None:
    """Give the network what `train_product` kept of it, in evaluation mode.

    Raises DefectoryError where the file is not there, or was made for a network of other names or shapes.
    """
    weights, expected = read_safetensors(path), network.trained_state()
    if {name: tensor.shape for name, tensor in weights.items()} != {n: t.shape for n, t in expected.items()}:
        raise DefectoryError(f"{path}: made for another architecture; run `defectory run` to train again")
    network.load_state_dict(weights, strict=False)
    network.requires_grad_(False)
    network.eval()


def train_product(
    trainer: ResumableTrainer[Examples],
    examples: Examples,
    target: Path,
    made_from: str,
    what: str,
    report: Report,
    state: Callable[[], Mapping[str, Tensor]],
) -> None:
    """Train into the file `target` and declare it made; goes on from a checkpoint beside it with the same fingerprint.

    `state` gives what is worth keeping, once the network has its averaged weights.
    """
    checkpoint = checkpoint_of(target)
    trainer.resume_from(checkpoint, made_from)
    train(trainer, examples, checkpoint, made_from, lambda done, steps: report(what, done, steps))
    trainer.finish()
    write_safetensors(target, state())
    mark_made(target, made_from)
    checkpoint.unlink(missing_ok=True)
