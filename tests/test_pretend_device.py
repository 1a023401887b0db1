"""The pretend accelerator: the CPU's bits, the device's name, and an accelerator's refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model

from tests.pretend_device import DEVICE, LOWERED, NAME, PROMOTED, autocast_operators, offered

HOST = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def on(device: torch.device, value: Any) -> Any:
    """Tensors, in lists and out of them, on a device."""
    if isinstance(value, list | tuple):
        return type(value)(on(device, each) for each in value)
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else value


def assert_same(ours: Any, theirs: Any) -> None:
    """Bit for bit, in the same layout; the first on the device, the second on the CPU."""
    if isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for each, other in zip(ours, theirs, strict=True):
            assert_same(each, other)
    elif isinstance(ours, Tensor):
        assert (ours.device, theirs.device) == (DEVICE, HOST)
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        assert ours.cpu().equal(theirs) or torch.allclose(ours.cpu(), theirs, rtol=0, atol=0, equal_nan=True)
    else:
        assert ours == theirs


# Whole networks: what the project trains and asks.


def unet() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    network = UNet2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        num_class_embeds=3,
    )
    return network, lambda moved: moved(*_inputs(moved, drawn(2, 4, 16, 16), torch.tensor([3, 70]), [0, 2])).sample


def conditional_unet() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=24,
    )
    words = drawn(2, 7, 24, seed=1)
    return network, lambda moved: moved(*_inputs(moved, drawn(2, 4, 8, 8), torch.tensor([3, 70]), words)).sample


def language_model() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """With dropout, which draws from torch's own generator, and tokens to leave out."""
    network = GPT2Model(GPT2Config(vocab_size=40, n_positions=16, n_embd=32, n_layer=2, n_head=4))
    tokens, kept = torch.arange(24).reshape(2, 12), (torch.arange(12) < torch.tensor([[12], [9]])).long()
    return network, lambda moved: moved(*_inputs(moved, tokens), attention_mask=on(_device(moved), kept))[0]


def autoencoder() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    channels, blocks = (16, 16), (1, 1)
    network = AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks,
    )
    return network, lambda moved: moved(*_inputs(moved, drawn(2, 3, 16, 16).tanh())).sample


def classifier() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    """The layers of an AlexNet, with batch normalisation, which writes its running means in place."""
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(16, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(96, 8)),
    )
    return network, lambda moved: moved(*_inputs(moved, drawn(3, 3, 63, 63)))


def _inputs(network: nn.Module, *values: Any) -> list[Any]:
    return on(_device(network), [torch.tensor(each) if isinstance(each, list) else each for each in values])


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


NETWORKS = {each.__name__: each for each in (unet, conditional_unet, language_model, autoencoder, classifier)}


def trained(build: Callable[[], Any], device: torch.device, precision: torch.dtype | None) -> list[Any]:
    """The losses, first gradients, weights and running means of three steps of fused AdamW from the same seed."""
    torch.manual_seed(3)
    network, ask = build()
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    losses, gradients = [], []
    for _ in range(3):
        optimiser.zero_grad()
        with torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None):
            loss = functional.mse_loss(ask(network), torch.ones((), device=device))
        loss.backward()
        gradients = gradients or on(device, [each.grad for each in network.parameters()])
        optimiser.step()
        losses.append(loss.detach())
    return [losses, gradients, list(network.state_dict().values())]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_trains_to_the_bits_of_the_cpu(network: str, precision: torch.dtype | None) -> None:
    theirs = trained(NETWORKS[network], HOST, precision)
    assert_same(trained(NETWORKS[network], DEVICE, precision), theirs)
    assert not theirs[0][0].equal(theirs[0][2]), "it learns"


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_autocast_is_not_without_effect() -> None:
    full, half = (trained(classifier, DEVICE, precision) for precision in (None, torch.bfloat16))
    assert not full[0][0].cpu().equal(half[0][0].cpu())


def test_asks_in_half_precision_to_the_bits_of_the_cpu() -> None:
    answers = []
    for device in (DEVICE, HOST):
        torch.manual_seed(3)
        network = classifier()[0].to(device).to(torch.bfloat16).eval()
        with torch.inference_mode():
            answers.append(network(on(device, drawn(2, 3, 63, 63).bfloat16())))
    assert_same(*answers)


# Autocast, rule by rule.


def test_autocast_has_the_rules_of_the_cpu() -> None:
    """The names that are written out are all among those for which the CPU has a rule."""
    assert autocast_operators().keys() >= LOWERED | PROMOTED


PAIRS = {
    "baddbmm": lambda x, y: torch.baddbmm(x[None], x[None], y[None]),
    "bmm": lambda x, y: torch.bmm(x[None], y[None]),
    "matmul": torch.matmul,
    "addmm": lambda x, y: torch.addmm(x, x, y),
    "conv_transpose2d": lambda x, y: functional.conv_transpose2d(x[None, None], y[None, None]),
    "prelu": lambda x, y: functional.prelu(x, y[0]),
    "einsum": lambda x, y: torch.einsum("ij,jk->ik", x, y),
    "attention": lambda x, y: functional.scaled_dot_product_attention(x[None, None], y[None, None], x[None, None]),
    "mse_loss": functional.mse_loss,
    "cross_entropy": lambda x, y: functional.cross_entropy(x, y.softmax(1)),
    "cdist": torch.cdist,
    "prod": lambda x, y: (x * y).bfloat16().prod(1),
    "solve": lambda x, y: torch.linalg.solve(x.bfloat16() + 9 * torch.eye(len(x), device=x.device), y.bfloat16()),
    "quantile": lambda x, y: torch.quantile(torch.matmul(x, y), 0.3, dim=1),
    "reflect": lambda x, y: functional.pad(torch.matmul(x, y)[None, None], (2, 1, 1, 2), mode="reflect"),
    "grid_sample": lambda x, y: functional.grid_sample(
        (x @ y)[None, None], y[None, :2, :, None].transpose(1, 2).transpose(2, 3), align_corners=False
    ),
    "cat": lambda x, y: torch.cat([x @ y, y]),
    "cat lower": lambda x, y: torch.cat([x @ y, y @ x]),
    "stack": lambda x, y: torch.stack([x @ y, x @ x]),
    "softmax": lambda x, y: (x @ y).softmax(1),
    "norm": lambda x, y: functional.layer_norm(x @ y, (8,), y[0], y[1]),
    "doubles": lambda x, y: torch.matmul(x.double(), y.double()),
    "sum": lambda x, y: (x @ y).sum() + x.exp().mean(),
}


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("operation", PAIRS)
def test_autocast_casts_what_the_cpu_casts(operation: str, precision: torch.dtype) -> None:
    results = []
    for device in (DEVICE, HOST):
        pair = [on(device, drawn(8, 8, seed=seed)).requires_grad_() for seed in (1, 2)]
        with torch.autocast(device.type, precision):
            answer = PAIRS[operation](*pair)
        answer.float().square().sum().backward()
        results.append([answer.detach(), [each.grad for each in pair]])
    assert_same(*results)


def weight_gradients(device: torch.device, *, kept: bool) -> list[Any]:
    """Of a weight that is used twice inside one autocast, and again inside another."""
    weight, values = on(device, drawn(8, 8, seed=1)).requires_grad_(), on(device, drawn(8, 8, seed=2))
    total = torch.zeros((), device=device)
    for _ in range(2):
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=kept):
            total = total + functional.linear(values @ weight, weight).float().square().sum()
        with torch.no_grad():
            values.mul_(1.5)
    total.backward()
    return [total.detach(), weight.grad]


@pytest.mark.parametrize("kept", [True, False])
def test_autocast_casts_a_weight_as_often_as_the_cpu_does(kept: bool) -> None:
    assert_same(weight_gradients(DEVICE, kept=kept), weight_gradients(HOST, kept=kept))


def test_autocast_sees_a_weight_that_changed_since() -> None:
    weight, values = nn.Parameter(on(DEVICE, drawn(4, 4))), on(DEVICE, drawn(4, 4, seed=1))
    autocast, answers = torch.autocast(NAME, torch.bfloat16), []
    for _ in range(2):
        with autocast:
            answers.append((values @ weight).detach().cpu())
        with torch.no_grad():
            weight.mul_(2)
    assert answers[1].equal(2 * answers[0])


# One operation after the other.

X, Y = drawn(2, 8, 8, 8), drawn(2, 8, 8, 8, seed=1)
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "arithmetic": lambda x, y: (x + y, x * 2, 1 / (y.abs() + 1), x**2, x @ y, x > y, -x, x.clamp(-1, 1), x.sigmoid()),
    "numbers": lambda x, y: (
        x * torch.tensor(2.0),
        torch.tensor(3.0, dtype=torch.double) + x,
        torch.where(x > 0, x, 0.0),
    ),
    "reductions": lambda x, y: (
        x.sum(),
        x.mean((2, 3)),
        x.std(1),
        x.amax(1),
        *torch.var_mean(x),
        x.norm(),
        x.logsumexp(1),
    ),
    "order": lambda x, y: (*x.topk(3), *x.sort(stable=True), x.argsort(1), x.median(), x.cummax(1), x.kthvalue(2)),
    "distinct": lambda x, y: torch.unique((x * 2).round().long(), return_inverse=True, return_counts=True),
    "gather": lambda x, y: (x.gather(1, (y > 0).long()), torch.zeros_like(x).scatter_add(1, (y > 0).long(), y)),
    "masks": lambda x, y: (x[y > 0], x.masked_fill(y > 0, 0), torch.nonzero(y > 1), x.masked_select(y > 0)),
    "indices": lambda x, y: (
        x[0, :, [1, 2]],
        x[torch.tensor([1, 0])],
        x[torch.tensor([1, 0], device=x.device)],
        x[..., -1],
    ),
    "views": lambda x, y: (
        x.transpose(1, 2),
        x.permute(0, 2, 3, 1),
        x[:, ::2],
        x.view(2, -1),
        x.unfold(2, 3, 2),
        x.flatten(1),
    ),
    "lists": lambda x, y: (torch.cat([x, y], 1), torch.stack([x, y]), x.chunk(2, 1), x.split(3, 1), x.unbind(0)),
    "shapes": lambda x, y: (
        x.repeat(2, 1, 1, 1),
        x.roll(1, 2),
        x.flip(3),
        x.expand(3, 2, 8, 8, 8).sum(0),
        x.tril(),
        x.cumsum(1),
    ),
    "pooling": lambda x, y: (
        functional.max_pool2d(x, 3, 2, 1),
        functional.avg_pool2d(x, 2),
        functional.adaptive_avg_pool2d(x, 3),
    ),
    "interpolate": lambda x, y: [
        functional.interpolate(x, size=(5, 11), mode=mode, antialias=antialias)
        for mode, antialias in (
            ("nearest", False),
            ("bilinear", False),
            ("bicubic", False),
            ("bilinear", True),
            ("area", False),
        )
    ],
    "shuffle": lambda x, y: (functional.pixel_shuffle(x, 2), functional.pixel_unshuffle(x, 2)),
    "windows": lambda x, y: functional.fold(functional.unfold(x, 3, padding=1), (8, 8), 3, padding=1),
    "sampling": lambda x, y: functional.grid_sample(
        x, y[:, :2].permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    ),
    "padding": lambda x, y: [
        functional.pad(x, (1, 2, 2, 1), mode=mode) for mode in ("constant", "reflect", "replicate", "circular")
    ],
    "norms": lambda x, y: (
        functional.group_norm(x, 4, y[0, :, 0, 0]),
        functional.layer_norm(x, (8,)),
        functional.instance_norm(x),
    ),
    "convolution": lambda x, y: (
        functional.conv2d(x, y, padding=1),
        functional.conv_transpose2d(x, y.repeat(4, 1, 1, 1)),
    ),
    "channels last": lambda x, y: functional.conv2d(x.contiguous(memory_format=torch.channels_last), y, padding=1),
    "activations": lambda x, y: (
        functional.gelu(x),
        functional.silu(x),
        functional.leaky_relu(x, 0.2),
        functional.mish(x),
        x.softmax(1),
    ),
    "losses": lambda x, y: (
        functional.mse_loss(x, y),
        functional.l1_loss(x, y),
        functional.binary_cross_entropy_with_logits(x, y.sigmoid()),
    ),
    "classes": lambda x, y: functional.cross_entropy(x, y.argmax(1), reduction="none"),
    "solve": lambda x, y: (
        torch.linalg.solve(x + 9 * torch.eye(8, device=x.device), y),
        torch.linalg.inv(x),
        torch.linalg.svdvals(x),
    ),
    "attention": lambda x, y: functional.scaled_dot_product_attention(x, y, x),
    "masked attention": lambda x, y: functional.scaled_dot_product_attention(x, y, x, attn_mask=y[:, :, :1] > -1),
    "causal attention": lambda x, y: functional.scaled_dot_product_attention(x, y, x, is_causal=True, scale=0.3),
    "grouped attention": lambda x, y: functional.scaled_dot_product_attention(x, y[:, :4], x[:, :4], enable_gqa=True),
    "distances": lambda x, y: torch.cdist(x.flatten(1), y.flatten(1)),
    "embedding": lambda x, y: functional.embedding((y[0] > 0).long(), x[0, 0]),
    "types": lambda x, y: (x.half().float(), x.double(), x.bfloat16(), (x > 0).long(), x.to(torch.uint8)),
    "complex": lambda x, y: (
        torch.fft.rfft2(x),
        torch.fft.irfft2(torch.fft.rfft2(x)),
        torch.complex(x, y).conj().resolve_conj(),
    ),
    "made there": lambda x, y: (
        torch.arange(3, device=x.device) + x.new_zeros(3),
        x.new_full((2,), 3.0),
        torch.ones_like(x),
    ),
    "in place": lambda x, y: (
        x.clone().add_(y).clamp_(-1, 1).lerp_(y, 0.3).mul_(y).addcmul_(x, y).masked_fill_(y > 1, 7),
        x.clone().zero_().copy_(y[:, :1]),
    ),
    "indexed in place": lambda x, y: (
        x.clone()
        .index_put_((torch.tensor([0]), torch.tensor([1])), y[0, 0])
        .index_add_(1, torch.tensor([2], device=x.device), y[:, :1])
    ),
    "foreach": lambda x, y: (
        torch._foreach_mul([x, y], 2),
        torch._foreach_norm([x, y]),
        torch._foreach_add([x], [y], alpha=2),
    ),
    "out": lambda x, y: (torch.add(x, y, out=x.new_empty(0)), torch.cat([x, y], out=x.new_empty(4, 8, 8, 8))),
    "reshaped in place": lambda x, y: (x.clone().unsqueeze_(0), x.clone().transpose_(1, 2), x.clone().resize_(3, 5)),
    "nothing": lambda x, y: (x[:0] + y[:0], x[:, :0].sum(), torch.cat([x[:0], y])),
}


@pytest.fixture(params=[False, True], ids=["any algorithm", "deterministic"])
def _algorithms(request: pytest.FixtureRequest) -> None:
    torch.use_deterministic_algorithms(request.param, warn_only=True)


@pytest.mark.usefixtures("_algorithms")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_computes_the_bits_of_the_cpu(operation: str) -> None:
    assert_same(*(OPERATIONS[operation](on(device, X), on(device, Y)) for device in (DEVICE, HOST)))


@pytest.mark.usefixtures("_algorithms")
@pytest.mark.parametrize(
    "operation",
    [
        *("arithmetic", "reductions", "gather", "masks", "indices", "views", "lists", "pooling", "interpolate"),
        *("shuffle", "windows", "sampling", "padding", "norms", "convolution", "channels last", "activations"),
        *("losses", "classes", "solve", "attention", "masked attention", "causal attention", "grouped attention"),
        *("distances", "complex"),
    ],
)
def test_the_gradients_are_the_bits_of_the_cpu(operation: str) -> None:
    gradients = []
    for device in (DEVICE, HOST):
        pair = [on(device, each).requires_grad_() for each in (X, Y)]
        results = OPERATIONS[operation](*pair)
        wanted = [each for each in _leaves(results) if each.requires_grad]
        torch.autograd.backward([(each.abs() * each.abs()).sum() for each in wanted])
        gradients.append([each.grad for each in pair if each.grad is not None])
    assert gradients[1], "something has a gradient"
    assert_same(*gradients)


def _leaves(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else [leaf for each in results for leaf in _leaves(each)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x.exponential_(),
        lambda x: x.normal_(),
        lambda x: x.uniform_(),
        lambda x: x.bernoulli_(0.3),
        lambda x: functional.dropout(x, 0.3),
        lambda x: functional.dropout(x, 0.3, training=False),
        lambda x: functional.dropout2d(x, 0.3),
        lambda x: nn.init.kaiming_normal_(x),
        lambda x: torch.multinomial(x.abs().flatten(1), 3),
    ],
)
def test_draws_what_the_cpu_draws(draw: Callable[[Tensor], Tensor]) -> None:
    drawn_by = []
    for device in (DEVICE, HOST):
        torch.manual_seed(7)
        drawn_by.append([draw(on(device, X)), torch.rand(1).item()])
    assert_same(*drawn_by)


# Memory.


def test_a_view_shows_what_is_written_in_place_and_is_part_of_its_base() -> None:
    base = on(DEVICE, torch.zeros(4, 4))
    base.diagonal().add_(1)
    base[0].copy_(torch.arange(4.0))
    base.T[3].mul_(2)
    base[1:3, 1:3][base[1:3, 1:3] > 0] = 5
    assert base.tolist() == [[0, 1, 2, 6], [0, 5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 2]]
    assert base.view(2, 8)._base is base
    torch.ops.aten._unsafe_view(base, (2, 8))[1].zero_()
    assert base[2:].abs().sum().item() == 0
    assert base[1].untyped_storage().data_ptr() == base.untyped_storage().data_ptr()


def test_what_is_written_in_place_is_the_same_tensor() -> None:
    with torch.inference_mode():
        tensor = on(DEVICE, X)
        assert tensor.add_(1) is tensor


def test_gradients_pass_through_what_is_written_in_place() -> None:
    gradients = []
    for device in (DEVICE, HOST):
        source = on(device, X[0, 0]).requires_grad_()
        written = source * 2
        written.diagonal().mul_(3)
        written[1].copy_(source[2])
        written.square().sum().backward()
        gradients.append(source.grad)
    assert_same(*gradients)


def test_what_is_written_in_place_after_it_was_saved_is_found_out() -> None:
    source = on(DEVICE, X).requires_grad_()
    saved = source.exp()
    saved.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()


def test_memory_outlives_the_tensor_of_which_it_is_a_view() -> None:
    parts = [on(DEVICE, torch.full((50_000,), float(value)))[10:20] for value in range(50)]
    assert [part.mean().item() for part in parts] == list(range(50))


def test_moves_without_sharing_memory() -> None:
    here = X.clone()
    there = here.to(NAME, non_blocking=True)
    here.zero_()
    back = there.to("cpu", non_blocking=True)
    there.zero_()
    assert back.equal(X)
    assert there.to(NAME) is there
    assert here.copy_(on(DEVICE, Y)).equal(Y)
    assert there.copy_(Y, non_blocking=True).cpu().equal(Y)
    assert torch.zeros_like(there, device="cpu").device == HOST


def test_gradients_pass_from_device_to_device() -> None:
    here = X.clone().requires_grad_()
    (here.to(NAME) * 2).cpu().square().sum().backward()
    assert here.grad is not None
    assert here.grad.equal(8 * X)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format, torch.preserve_format])
def test_moves_keep_the_layout(layout: torch.memory_format) -> None:
    for source in (X, X.transpose(1, 2), X.contiguous(memory_format=torch.channels_last), X[:, :1], X[..., ::2]):
        assert source.to(NAME, memory_format=layout).stride() == source.to(torch.double, memory_format=layout).stride()


def test_reads_as_numbers() -> None:
    tensor = on(DEVICE, X)
    assert tensor.sum().item() == X.sum().item()
    assert tensor.tolist() == X.tolist()
    assert bool((tensor == tensor).all())
    assert f"device='{DEVICE}'" in repr(tensor)
    assert len(tensor) == 2


# Modules.


def test_a_module_moves_there_and_back_and_keeps_what_it_shares() -> None:
    network = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4), "norm": nn.BatchNorm1d(4)})
    network["two"].weight = network["one"].weight
    weight, optimiser = network["one"].weight, torch.optim.AdamW(network.parameters())
    network.to(NAME)
    assert network["one"].weight is network["two"].weight is weight is optimiser.param_groups[0]["params"][0]
    assert {each.device for each in network.state_dict().values()} == {DEVICE}
    assert type(weight) is nn.Parameter
    network.cpu()
    assert network["one"].weight is network["two"].weight
    assert {each.device for each in network.state_dict().values()} == {HOST}


def test_a_deep_copy_has_memory_of_its_own() -> None:
    network = classifier()[0].to(NAME)
    twin = copy.deepcopy(network)
    assert_same(list(twin.state_dict().values()), on(HOST, list(network.state_dict().values())))
    with torch.no_grad():
        for each in network.state_dict().values():
            each.zero_()
    assert all(each.abs().sum() > 0 for each in twin.parameters() if each.dim() > 1)
    assert twin[4].running_var.device == DEVICE
    assert twin[4].running_var.sum().item() == 24


def test_a_state_loads_from_either_device() -> None:
    source, there, back = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(3))
    there.to(NAME).load_state_dict(source.state_dict())
    back.load_state_dict(there.state_dict())
    assert_same(list(there.state_dict().values()), list(source.state_dict().values()))
    assert all(back.state_dict()[name].equal(each) for name, each in source.state_dict().items())


def test_a_state_is_saved_from_the_cpu(tmp_path: Path) -> None:
    network = nn.Linear(3, 3).to(NAME)
    save_file({name: each.cpu() for name, each in network.state_dict().items()}, tmp_path / "weights.safetensors")
    loaded = load_file(tmp_path / "weights.safetensors")
    assert_same(list(network.state_dict().values()), [loaded["weight"], loaded["bias"]])


def test_gradients_are_clipped_and_scaled_as_on_the_cpu() -> None:
    clipped = []
    for device in (DEVICE, HOST):
        weights = [on(device, each).requires_grad_() for each in (X, Y)]
        torch.autograd.backward([each.square().sum() for each in weights])
        clipped.append([nn.utils.clip_grad_norm_(weights, 0.5), [each.grad for each in weights]])
    assert_same(*clipped)


# Refusals.


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: here + there,
        lambda there, here: here.add_(there),
        lambda there, here: there.add_(here),
        lambda there, here: there.sum() * here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.stack([there.sum(), here.sum()]),
        lambda there, here: functional.linear(there, here[0, 0]),
        lambda there, here: functional.conv2d(there, here),
        lambda there, here: functional.mse_loss(there, here),
        lambda there, here: functional.scaled_dot_product_attention(there, here, there),
        lambda there, here: functional.embedding(here.argmax(1), there[0, 0]),
        lambda there, here: torch.where(here > 0, there, there),
        lambda there, here: there.gather(1, here.argsort(1)),
        lambda there, here: here[there.argmax(1)],
        lambda there, here: here[there > 0],
        lambda there, here: there.masked_fill_(here > 0, 0),
        lambda there, here: torch._foreach_add([there], [here]),
        lambda there, here: torch.add(here, here, out=there),
        lambda there, here: torch.equal(there, here),
        lambda there, here: nn.GroupNorm(2, 8)(there),
        lambda there, here: nn.BatchNorm2d(8)(there),
    ],
)
def test_refuses_to_mix_with_the_cpu(mix: Callable[[Tensor, Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match=r"same device|on pretend:0"):
        mix(on(DEVICE, X), X.clone())


def test_refuses_to_mix_inside_autocast() -> None:
    with torch.autocast(NAME, torch.bfloat16), pytest.raises(RuntimeError, match="same device"):
        functional.linear(on(DEVICE, X), X[0, 0])


def test_refuses_gradients_of_the_cpu() -> None:
    with pytest.raises(RuntimeError, match="device"):
        on(DEVICE, X).requires_grad_().backward(X)


def test_refuses_to_be_seen_by_numpy() -> None:
    tensor = on(DEVICE, X)
    for see in (Tensor.numpy, np.asarray):
        with pytest.raises(TypeError, match="can't convert pretend:0 device type tensor to numpy"):
            see(tensor)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(3, device=NAME),
        lambda: torch.rand(3, device=NAME, generator=torch.Generator()),
        lambda: torch.randperm(3, device=NAME),
        lambda: torch.empty(3, device=NAME).exponential_(generator=torch.Generator()),
        lambda: torch.multinomial(torch.ones(3, device=NAME), 1, generator=torch.Generator()),
        lambda: torch.Generator(NAME),
    ],
)
def test_refuses_to_draw_by_other_means_than_the_seed_of_torch(draw: Callable[[], Tensor]) -> None:
    with pytest.raises(RuntimeError):
        draw()


def test_refuses_a_second_device() -> None:
    for make in (lambda: torch.empty(1, device="pretend:1"), lambda: X.to("pretend:1")):
        with pytest.raises(RuntimeError, match="one pretend device"):
            make()


# The process around it.


def test_is_the_best_device_only_where_it_is_offered() -> None:
    assert torch.accelerator.current_accelerator() == torch.device(NAME)
    assert torch.accelerator.current_accelerator(check_available=True) is None
    with offered() as device:
        assert torch.accelerator.current_accelerator(check_available=True) == torch.device(NAME)
        assert torch.empty(1, device=torch.accelerator.current_accelerator()).device == device == DEVICE
        torch.accelerator.synchronize(device)
    assert not torch.accelerator.is_available()


def test_computes_backwards_with_the_threads_of_its_caller() -> None:
    seen = []

    class Look(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, values: Tensor) -> Tensor:
            return values * 2

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            doubled = gradient * 2
            seen.append(torch.get_num_threads())
            return doubled

    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        Look.apply(on(DEVICE, X).requires_grad_()).sum().backward()
    assert seen == [1, 2, 1]
