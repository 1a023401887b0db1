"""The one training loop: seeded, resumable, averaged where that is wanted, on any device.

In: a trainer, which knows how a batch is drawn and what a step does. Out: its network, trained in place, and what of it
is worth keeping in a file. A step's random numbers depend on the seed and the step alone and are drawn on the host: a
run that was killed and resumed ends in the same bytes, and every device is given the same numbers.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from tasks.contracts import DefectoryError
from tasks.files.products import checkpoint_of, mark_made
from tasks.files.tensors import read_safetensors, write_safetensors
from tasks.networks.device import HOST, device_of, moved
from tasks.progress import Progress, Report
from tasks.seeds import derive, torch_generator

_WARM_UP_STEPS = 50
_WRITING_SHARE = 0.05
"""Of the time, that checkpoints may take."""
_SOON = 1.0
"""Seconds within which one may be written as often as it is asked for."""


class Recipe(Protocol):
    """What the loop reads of a block of params."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def checkpoint_every(self) -> int: ...


class AveragedRecipe(Recipe, Protocol):
    @property
    def ema_decay(self) -> float: ...


Batch = TypeVar("Batch")
"""What a step is told: tensors, or a dataclass of them."""


class Trainer(ABC, Generic[Batch]):
    """Holds what a checkpoint holds: trained weights, buffers, the optimizers and the step."""

    def __init__(self, network: nn.Module, optimizers: Sequence[Optimizer], recipe: Recipe, seed: int) -> None:
        """`network` stands where it is to be trained; a frozen part of it is in no checkpoint."""
        self.network, self.optimizers, self.recipe, self.seed, self.step = network, optimizers, recipe, seed, 0
        self.device = device_of(network)

    @abstractmethod
    def draw(self, step: int) -> Batch:
        """The batch of a step, on the host."""

    @abstractmethod
    def update(self, batch: Batch) -> Tensor:
        """One step of the optimizers; the loss, a scalar that nobody waits for."""

    def generator(self, step: int) -> torch.Generator:
        """All the randomness of a step."""
        return torch_generator(derive(self.seed, f"step {step}"))

    def set_learning_rate(self) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * learning_rate_share(self.step, self.recipe.steps)

    def advance(self, batch: Batch | None = None) -> Tensor:
        """One step, by default with the batch that it draws; returns the loss."""
        if batch is None:
            batch = moved(self.draw(self.step), self.device)
        self.set_learning_rate()
        loss = self.update(batch)
        self.step += 1
        return loss

    def finish(self) -> None:
        """The network as it is to be used."""
        self.network.requires_grad_(False).eval()

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds, by name."""
        frozen = {name for name, parameter in self.network.named_parameters() if not parameter.requires_grad}
        state = {name: tensor for name, tensor in self.network.state_dict().items() if name not in frozen}
        held = {f"weights.{name}": tensor for name, tensor in state.items()}
        for number, (optimizer, parameter) in enumerate(self._parameters()):
            held |= {f"optimizer.{number}.{name}": value for name, value in optimizer.state[parameter].items()}
        return held

    def restore(self, held: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave."""
        weights = {name.removeprefix("weights."): t for name, t in held.items() if name.startswith("weights.")}
        self.network.load_state_dict(weights, strict=False)
        for number, (optimizer, parameter) in enumerate(self._parameters()):
            if f"optimizer.{number}.step" in held:  # one that had no gradient yet has no state
                optimizer.state[parameter] = _state_of(parameter, f"optimizer.{number}", held)

    def save(self, path: Path, made_from: str) -> None:
        """Write a checkpoint; it appears whole or not at all."""
        held = {name: tensor.detach() for name, tensor in self.tensors().items()}
        write_safetensors(path, held, {"step": str(self.step), "made_from": made_from})

    def resume_from(self, path: Path, made_from: str) -> None:
        """Go on from a checkpoint that was made from exactly this; any other one is left alone."""
        checkpoint = _read_checkpoint(path, made_from)
        if checkpoint and self._weights() == {name for name in checkpoint[0] if name.startswith("weights.")}:
            held, self.step = checkpoint
            self.restore(held)

    def _weights(self) -> set[str]:
        """Their names in a checkpoint; one with others was written by another version of the code."""
        return {name for name in self.tensors() if name.startswith("weights.")}

    def _parameters(self) -> list[tuple[Optimizer, nn.Parameter]]:
        groups = ((optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups)
        return [(optimizer, parameter) for optimizer, group in groups for parameter in group["params"]]


class _Average(EMAModel):
    """diffusers' moving average, of all weights at once: a parameter at a time an accelerator waits for the host."""

    @torch.no_grad()
    def step(self, parameters: Sequence[nn.Parameter]) -> None:
        self.optimization_step += 1
        self.cur_decay_value = self.get_decay(self.optimization_step)
        towards = torch._foreach_sub(self.shadow_params, list(parameters))
        torch._foreach_mul_(towards, 1 - self.cur_decay_value)
        torch._foreach_sub_(self.shadow_params, towards)


class AveragedTrainer(Trainer[Batch]):
    """AdamW on a loss; what is kept is the moving average of the weights."""

    def __init__(self, network: nn.Module, recipe: AveragedRecipe, seed: int) -> None:
        """Trains those parameters of `network` that require a gradient."""
        self.trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            self.trained, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.average = _Average(self.trained, decay=recipe.ema_decay, use_ema_warmup=True, power=0.75)
        super().__init__(network, [optimizer], recipe, seed)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """A scalar."""

    def update(self, batch: Batch) -> Tensor:
        loss = self.loss(batch)
        self.optimizers[0].zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizers[0].step()
        self.average.step(self.trained)
        return loss.detach()

    def finish(self) -> None:
        """Give the network its averaged weights."""
        self.average.copy_to(self.trained)
        super().finish()

    def tensors(self) -> dict[str, Tensor]:
        averages = {f"average.{number}": shadow for number, shadow in enumerate(self.average.shadow_params)}
        return super().tensors() | averages

    def restore(self, held: Mapping[str, Tensor]) -> None:
        super().restore(held)
        for number, shadow in enumerate(self.average.shadow_params):
            shadow.copy_(held[f"average.{number}"])
        self.average.optimization_step = self.step


def _state_of(parameter: Tensor, prefix: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # The moments take the parameter's own memory layout: a fused optimizer walks all of them in step.
    moments = {
        name: torch.empty_like(parameter, requires_grad=False).copy_(held[f"{prefix}.{name}"])
        for name in ("exp_avg", "exp_avg_sq")
    }
    return {"step": held[f"{prefix}.step"].to(parameter.device), **moments}


def _read_checkpoint(path: Path, made_from: str) -> tuple[dict[str, Tensor], int] | None:
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


def run_training(
    trainer: Trainer[Batch], checkpoint: Path | None = None, made_from: str = "", progress: Progress | None = None
) -> list[float]:
    """Advance to `recipe.steps`, saving every `checkpoint_every` steps; returns the losses of the steps taken here."""
    losses: list[Tensor] = []
    trainer.network.train()
    pace = _Pace()
    for batch in _drawn_ahead(trainer):
        losses.append(trainer.advance(batch))
        if checkpoint and trainer.step % trainer.recipe.checkpoint_every == 0 and pace.is_due():
            with pace.timed():
                trainer.save(checkpoint, made_from)
        if progress:
            progress(trainer.step, trainer.recipe.steps)
    return torch.stack(losses).tolist() if losses else []


class _Pace:
    """When a checkpoint is due: where writing one takes seconds, it takes a small share of the time all the same.

    What a small network leaves is written within milliseconds, every time it is asked for. A ControlNet's, of 6 GB,
    takes longer than the steps between two.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self._until

    @contextmanager
    def timed(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        ended = time.monotonic()
        taken = ended - begun
        self._until = ended + (taken / _WRITING_SHARE if taken > _SOON else 0)


def _drawn_ahead(trainer: Trainer[Batch]) -> Iterator[Batch]:
    """The batches of the steps that are left, on the device, each put together while the one before it is computed.

    On the host the processor has enough to do with the step itself.
    """

    def drawn(step: int) -> Batch:
        return moved(trainer.draw(step), trainer.device)

    steps = range(trainer.step, trainer.recipe.steps)
    if trainer.device == HOST:
        yield from map(drawn, steps)
        return
    with ThreadPoolExecutor(1) as thread:
        ahead = [thread.submit(drawn, step) for step in steps[:1]]
        for step in steps:
            batch = ahead.pop().result()
            if step + 1 < trainer.recipe.steps:
                ahead.append(thread.submit(drawn, step + 1))
            yield batch


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
    trainer: Trainer[Batch],
    target: Path,
    made_from: str,
    what: str,
    report: Report,
    state: Callable[[], Mapping[str, Tensor]],
) -> None:
    """Train into the file `target` and declare it made; goes on from a checkpoint beside it with the same fingerprint.

    `state` gives what is worth keeping, once the network is finished.
    """
    checkpoint = checkpoint_of(target)
    trainer.resume_from(checkpoint, made_from)
    run_training(trainer, checkpoint, made_from, lambda done, steps: report(what, done, steps))
    trainer.finish()
    write_safetensors(target, state())
    mark_made(target, made_from)
    checkpoint.unlink(missing_ok=True)
