"""Ways to compute one network: number formats, memory formats, compiled, captured as a graph. Which of them pay?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.device.budget import OutOfTimeError
from benchmarks.device.shop import Shop
from benchmarks.device.stable_diffusion import Architecture, new_unet
from benchmarks.device.timing import forget_peak, median_seconds, peak_memory_gib, seconds_of
from tasks.diffusion.codec import LATENT_CHANNELS
from tasks.params import DenoiserParams
from tasks.seeds import torch_generator
from tasks.synthesis.adabldm.denoiser import build_embedded


@dataclass(frozen=True)
class Network:
    """A network and what it is given in one call."""

    name: str
    module: nn.Module
    given: tuple[Tensor, ...]
    named: dict[str, Tensor]
    trained: bool
    """Whether its training steps are timed, too."""
    calls: int
    """In a row for each timing: with many short ones, the wait for the device at their end counts for less."""


@dataclass(frozen=True)
class Way:
    """How the network is computed."""

    name: str
    autocast: bool = True
    channels_last: bool = True
    half: bool = False
    """Whether the weights themselves are bfloat16."""
    fixed: bool = True
    """Whether only algorithms are allowed that give the same bits each time."""
    captured: bool = False
    """Whether the device is given all of it at once, as a graph."""
    compiled: bool = False


WAYS = (
    Way("bfloat16, channels last"),
    Way("bfloat16", channels_last=False),
    Way("float32, channels last", autocast=False),
    Way("bfloat16 weights, channels last", autocast=False, half=True),
    Way("bfloat16, channels last, any algorithm", fixed=False),
    Way("bfloat16, channels last, captured", captured=True),
    Way("bfloat16, channels last, compiled", compiled=True),
    Way("bfloat16, channels last, compiled, captured", compiled=True, captured=True),
)
"""The first one is the project's own."""


def embedded_network(shop: Shop, batch: int) -> Network:
    """AdaBLDM's denoiser, at its default widths."""
    denoiser = build_embedded(DenoiserParams(), LATENT_CHANNELS, label_count=4, seed=0).to(shop.device)
    side, generator = shop.sizes.side // 8, torch_generator(0)
    noisy = torch.randn(batch, denoiser.unet.config.in_channels, side, side, generator=generator)
    labels = torch.zeros(batch, dtype=torch.int64, device=shop.device)
    given = (noisy.to(shop.device), torch.full((batch,), 500, device=shop.device))
    name = f"embedded denoiser, {batch} of {shop.sizes.side} px"
    return Network(name, denoiser.unet, given, {"class_labels": labels}, trained=True, calls=4)


def pretrained_network(shop: Shop, architecture: Architecture, batch: int) -> Network:
    """The U-Net of Stable Diffusion."""
    unet, generator = new_unet(architecture, 4, shop.device), torch_generator(0)
    side, pixels = shop.sizes.pretrained_sides[0] // 8, shop.sizes.pretrained_sides[0]
    noisy = torch.randn(batch, 4, side, side, generator=generator).to(shop.device)
    words = torch.randn(batch, 77, unet.config.cross_attention_dim, generator=generator).to(shop.device)
    name = f"Stable Diffusion's U-Net, {batch} of {pixels} px"
    return Network(
        name, unet, (noisy, torch.full((batch,), 500, device=shop.device), words), {}, trained=False, calls=1
    )


def measure_network(shop: Shop, network: Network) -> None:
    """A row of the table `networks` for each way and call; one that fails costs no other its row."""
    for way in WAYS:
        if way.captured and shop.device.type != "cuda":
            continue
        try:
            _measure(shop, network, way)
        except OutOfTimeError:
            raise
        except Exception as error:
            shop.record.fail(f"{network.name}: {way.name}", error)
        finally:
            torch.compiler.reset()


def _measure(shop: Shop, network: Network, way: Way) -> None:
    with _prepared(network, way) as module, _algorithms(way.fixed):
        forget_peak(shop.device)
        called = torch.compile(module, backend=shop.sizes.compiler) if way.compiled else module
        works = {"forward": _forward(shop.device, called, network, way)}
        if network.trained and not way.half:
            works["step"] = _step(shop.device, called, network, way)
        for call, work in works.items():
            first = seconds_of(shop.device, work)
            several = _repeated(_captured(work) if way.captured else work, network.calls)
            seconds = median_seconds(shop.device, several, shop.sizes.repeats)
            row = {"network": network.name, "call": call, "way": way.name, "seconds": seconds / network.calls}
            row |= {"first call (s)": first, "memory (GiB)": peak_memory_gib(shop.device)}
            shop.record.add("networks", row)


def _repeated(work: Callable[[], object], times: int) -> Callable[[], object]:
    return lambda: [work() for _ in range(times)]


def _forward(device: torch.device, module: Any, network: Network, way: Way) -> Callable[[], object]:
    given = tuple(_as_weights(tensor, way) for tensor in network.given)

    def work() -> Tensor:
        with torch.no_grad(), _autocast(device, way):
            return module(*given, **network.named).sample

    return work


def _step(device: torch.device, module: Any, network: Network, way: Way) -> Callable[[], object]:
    trained = list(network.module.requires_grad_(True).parameters())
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True, capturable=way.captured)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(device, way):
            prediction = module(*network.given, **network.named).sample
        prediction.float().square().mean().backward()
        optimizer.step()

    return work


def _autocast(device: torch.device, way: Way) -> torch.autocast:
    # A captured region must not use weights that were cast, and kept, outside of it.
    return torch.autocast(device.type, torch.bfloat16, enabled=way.autocast, cache_enabled=not way.captured)


def _as_weights(tensor: Tensor, way: Way) -> Tensor:
    return tensor.to(torch.bfloat16) if way.half and tensor.is_floating_point() else tensor


@contextmanager
def _prepared(network: Network, way: Way) -> Iterator[nn.Module]:
    """The module in the way's formats, and afterwards as a float32 one again."""
    module = network.module
    memory = torch.channels_last if way.channels_last else torch.contiguous_format
    try:
        yield (module.to(torch.bfloat16) if way.half else module).to(memory_format=memory)
    finally:
        if way.half:
            module.to(torch.float32)
        module.requires_grad_(False)
        module.zero_grad(set_to_none=True)


@contextmanager
def _algorithms(fixed: bool) -> Iterator[None]:
    """The project's own choice of algorithms, or any that is fast."""
    backend = torch.backends.cudnn
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = backend.benchmark, backend.deterministic
    if not fixed:
        backend.benchmark, backend.deterministic = True, False
        torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        backend.benchmark, backend.deterministic = before
        torch.use_deterministic_algorithms(strict, warn_only=warns)


def _captured(work: Callable[[], object]) -> Callable[[], object]:
    """The work as one graph, after some runs on a stream of their own, as capturing asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
