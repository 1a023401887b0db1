"""A pretend accelerator, for tests on machines without one: tensors on `pretend:0`.

It computes with the CPU's own kernels, in the same order and with the same rounding, so a result differs from the
CPU's in nothing but its device. Like a real accelerator it refuses what works on the CPU alone: mixing with tensors of
the CPU (save numbers, and indices into a tensor of the device), a view as a NumPy array, a CPU generator for its
random numbers. `torch.autocast("pretend", …)` casts what `torch.autocast("cpu", …)` casts.

Import it at the top of a test module, before any backward pass of the process: torch counts its devices in the first.
Nothing else in the process changes, and no code that asks for the best device finds this one, outside of `offered`; but
as with any accelerator a forked child can then do no backward pass.

How it works: torch lets Python stand in for a backend of its own (`PrivateUse1`). A tensor of the device is an
ordinary `torch.Tensor` whose storage is memory of the CPU under another device's name, so views, parameters, in-place
operations and the autograd are torch's own. Each operation sees the same memory as tensors of the CPU.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decompositions
from torch._ops import OpOverload
from torch.utils import backend_registration

NAME = "pretend"
DEVICE = torch.device("privateuseone", 0)  # so torch calls it until it has its name
_HOST = torch.device("cpu")

_Kernel = Callable[..., Any]


# Memory: the same bytes under the name of either device.

_DLPACK_EXTENSION_DEVICE = 12
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_NEUTRAL = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
"""Where torch's own kernels for views are found, which move no data and so serve any device."""


def _is_ours(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def _as_host(tensor: Tensor) -> Tensor:
    """The tensor's memory as a tensor of the CPU; it must not outlive the tensor."""
    if not tensor.numel():
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    held = tensor.untyped_storage()
    storage = torch._C._construct_storage_from_data_pointer(held.data_ptr(), _HOST, held.nbytes())
    host = _set(torch.empty(0, dtype=tensor.dtype), storage, tensor)
    host = host.conj() if tensor.is_conj() else host
    return host._neg_view() if tensor.is_neg() else host


def _as_ours(host: Tensor, storage: torch.UntypedStorage | None = None) -> Tensor:
    """A CPU tensor's memory as a tensor of the device, which keeps it alive; or over a storage of the device."""
    held = host.untyped_storage()
    extent = held.nbytes() // host.itemsize
    flat = torch.empty(0, dtype=host.dtype).set_(held, 0, (extent if storage is None else 0,), (1,))
    capsule = torch.to_dlpack(flat)
    # The first field of a DLPack tensor is its address, the second the kind of its device.
    ctypes.c_int32.from_address(_capsule_pointer(capsule, b"dltensor") + 8).value = _DLPACK_EXTENSION_DEVICE
    tensor = torch._C._from_dlpack(capsule)
    return _set(tensor, tensor.untyped_storage() if storage is None else storage, host)


def _set(tensor: Tensor, storage: torch.UntypedStorage, like: Tensor) -> Tensor:
    set_ = torch.ops.aten.set_.source_Storage_storage_offset
    return set_.redispatch(_NEUTRAL, tensor, storage, like.storage_offset(), like.shape, like.stride())


# One operation: its tensors seen by the CPU, its results seen by the device.


class _Call:
    """The tensors of one call on either side: arguments go to the CPU, results come back."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def to_host(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return _HOST if _checked(value).type == NAME else value
        if not _is_ours(value):
            return value
        host = _as_host(value)
        self.pairs.append((host, value))
        return host

    def to_ours(self, value: Any) -> Any:
        """A result as a tensor of the device: the argument that it is, or over the storage of which it is a view."""
        if not isinstance(value, Tensor):
            return value
        for host, ours in self.pairs:
            if value is host:
                return ours
        value = value.resolve_conj().resolve_neg()
        return _as_ours(value, self._storage_of(value))

    def keep_reshaped(self) -> None:
        """Arguments that the call gave another shape, as it does to an empty `out`, get it on the device too."""
        for host, ours in self.pairs:
            if (host.shape, host.stride()) != (ours.shape, ours.stride()):
                _set(ours, self._storage_of(host) or _as_ours(host).untyped_storage(), host)

    def _storage_of(self, host: Tensor) -> torch.UntypedStorage | None:
        address = host.untyped_storage().data_ptr()
        storages = (ours.untyped_storage() for _, ours in self.pairs)
        return next((each for each in storages if address and each.data_ptr() == address), None)


def _compute(operator: OpOverload, *arguments: Any, **options: Any) -> Any:
    """Any operation with a tensor of the device among its arguments, or with the device as its `device`."""
    _refuse_strangers(operator, arguments, options)
    _share_threads()
    call = _Call()
    # What an operation is made of inside is cast as it is on the host, too.
    with torch.autocast("cpu", torch.get_autocast_dtype(NAME), enabled=torch.is_autocast_enabled(NAME)):
        result = operator(*_each(arguments, call.to_host), **_each(options, call.to_host))
    if operator._schema.is_mutable:
        call.keep_reshaped()
    wanted = options.get("device")
    return result if wanted is not None and wanted.type != NAME else _each(result, call.to_ours)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The arguments or results of an operation with each leaf changed; torch nests them in lists, never deeper."""
    if isinstance(value, dict):
        return {name: _each(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_each(each, change) for each in value])
    return change(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _checked(device: torch.device) -> torch.device:
    if device.type == NAME and device.index not in (None, 0):
        raise RuntimeError(f"there is one pretend device, {DEVICE}; got {device}")
    return device


_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_DRAWING = {"rand", "randn", "randint", "randperm", "normal"}


def _refuse_strangers(operator: OpOverload, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """What an accelerator refuses: tensors of the CPU, save numbers and indices, and generators of the CPU."""
    operation = operator._schema.name.removeprefix("aten::")
    if operation in _INDEXING and _is_ours(arguments[0]):
        arguments = (arguments[0], *arguments[2:])
    leaves = [*_leaves(arguments), *_leaves(list(options.values()))]
    if any(_is_ours(each) for each in leaves) and any(_is_foreign(each, operation) for each in leaves):
        raise RuntimeError(
            f"{operation}: expected all tensors to be on the same device, but found at least two, {DEVICE} and cpu"
        )
    if any(isinstance(each, torch.Generator) for each in leaves):
        raise RuntimeError(f"{operation}: expected a generator of {NAME!r}, but found one of the cpu; draw there, move")
    if operation in _DRAWING:
        raise RuntimeError(f"{operation}: {DEVICE} draws nothing of its own; draw on the cpu, move")


def _is_foreign(value: Any, operation: str) -> bool:
    numbers_are_not = operation != "stack"
    return isinstance(value, Tensor) and value.device.type != NAME and not (numbers_are_not and value.dim() == 0)


_threads = torch.get_num_threads()


def _share_threads() -> None:
    """The backward pass runs in a thread of the device's; it computes with as many threads as the forward pass did."""
    global _threads
    if torch._C._current_graph_task_id() < 0:
        _threads = torch.get_num_threads()
    elif torch.get_num_threads() != _threads:
        torch.set_num_threads(_threads)


# Operations that are not the CPU's on the CPU's tensors.


def _move(source: Tensor, **options: Any) -> Tensor:
    """`_to_copy`: as the CPU copies it, without memory that is pinned for an accelerator."""
    target = _checked(options.pop("device", None) or source.device)
    options.pop("non_blocking", None)
    host = _as_host(source) if _is_ours(source) else source
    moved = torch.ops.aten._to_copy.default(host, **options, device=_HOST)
    return _as_ours(moved) if target.type == NAME else moved.to(target)


def _copy_(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    hosts = [_as_host(each) if _is_ours(each) else each for each in (target, source)]
    torch.ops.aten.copy_.default(*hosts)
    return target


def _dropout(values: Tensor, chance: float, training: bool) -> Tensor:
    """As on the CPU; torch gives other devices another formula, whose last bits differ."""
    if not training or chance == 0 or not values.numel():
        return values
    if chance == 1:
        return values * values.new_zeros(())
    kept = torch.empty_like(values).bernoulli_(1 - chance)
    return values * kept.div_(1 - chance)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot product attention by the formula that the CPU would choose for these tensors."""
    hosts = [
        None if each is None else _as_host(each).requires_grad_(each.requires_grad) for each in (query, key, value)
    ]
    host_mask = None if mask is None else _as_host(mask)
    choice = torch._fused_sdp_choice(*hosts, host_mask, dropout, causal, scale=scale, enable_gqa=enable_gqa)
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -math.inf)
    if choice == torch.nn.attention.SDPBackend.FLASH_ATTENTION.value:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, key, value, dropout, causal, attn_mask=mask, scale=scale)[0]
    plain = torch.ops.aten._scaled_dot_product_attention_math
    return plain(query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=enable_gqa)[0]


# Autocast: the rules of the CPU's (ATen/autocast_mode.cpp), for this device.

LOWERED = {
    *("_addmm_activation", "_convolution.deprecated", "_native_multi_head_attention", "addbmm", "addmm", "baddbmm"),
    *("bmm", "conv1d", "conv1d.padding", "conv2d", "conv2d.padding", "conv3d", "conv3d.padding", "conv_tbc"),
    *("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input", "linalg_vecdot", "linear", "matmul"),
    *("mkldnn_rnn_layer", "mm", "prelu", "scaled_dot_product_attention"),
}
"""Operations that autocast runs in the lower precision."""
PROMOTED = {"cat", "index_copy", "stack"}
"""Operations that it runs in the widest type among their arguments. All others of its list run in float32."""

_casts: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}


def _autocast(operator: OpOverload, name: str, *arguments: Any, **options: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
        wanted = _wanted_type(name, [*_leaves(arguments), *_leaves(list(options.values()))])
        cast = partial(_cast, wanted=wanted)
        return operator(*_each(arguments, cast), **_each(options, cast))


def _wanted_type(name: str, leaves: Iterable[Any]) -> torch.dtype:
    lower = torch.get_autocast_dtype(NAME)
    if name in PROMOTED:
        return torch.float32 if any(_is_ours(each) and each.dtype == torch.float32 for each in leaves) else lower
    return lower if name in LOWERED else torch.float32


def _cast(value: Any, wanted: torch.dtype) -> Any:
    """A tensor in the wanted type; a parameter's cast is kept, for its other uses, until autocast ends."""
    if not _is_ours(value) or not value.is_floating_point() or value.dtype in (torch.float64, wanted):
        return value
    if not _is_kept(value, wanted):
        return value.to(wanted)
    source, cast = _casts.get(id(value), (None, None))
    if source is None or source() is not value:
        cast = value.to(wanted)
        _casts[id(value)] = weakref.ref(value), cast
    return cast


def _is_kept(value: Tensor, wanted: torch.dtype) -> bool:
    is_parameter = value.dtype == torch.float32 and value.requires_grad and value.is_leaf and not value._is_view()
    return is_parameter and wanted == torch.get_autocast_dtype(NAME) and torch.is_autocast_cache_enabled()


# What torch asks of a device.


class _Backend(backend_registration._DummyBackendModule):
    """`torch.pretend`. There, but not available, so that code which takes the best device goes on as without it."""

    offered = False

    def is_available(self) -> bool:
        return self.offered

    def get_device_name(self, device: torch.device | str | int | None = None) -> str:
        return "a pretend accelerator"

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        """As the CPU, whose kernels it takes: `tasks.networks.device.lower_precision` asks."""
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: torch.device | str | int = NAME) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: torch.device | str | int = NAME) -> None:
        torch.set_rng_state(state)


_backend = _Backend()


@contextmanager
def offered() -> Iterator[torch.device]:
    """While it lasts this device is the best there is, to `current_accelerator(check_available=True)` of torch."""
    _backend.offered = True
    try:
        yield DEVICE
    finally:
        _backend.offered = False


# Registration, once a process.


_COMPOSITE = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")


def _operators(*keys: str) -> Iterator[tuple[str, OpOverload]]:
    """The names and operators of torch's own library that have a kernel under one of these keys of its dispatcher."""
    registered = {name for key in keys for name in torch._C._dispatch_get_registrations_for_dispatch_key(key)}
    for name in sorted(each.removeprefix("aten::") for each in registered if each.startswith("aten::")):
        operation, _, overload = name.partition(".")
        yield name, getattr(getattr(torch.ops.aten, operation), overload or "default")


def autocast_operators() -> dict[str, OpOverload]:
    """The operators for which the CPU's autocast casts, by name."""
    return dict(_operators("AutocastCPU"))


def _kernel(name: str, operator: OpOverload) -> _Kernel | None:
    """What runs the operator on the device; None where torch's kernel for every device does."""
    special: dict[str, _Kernel] = {"_to_copy": _move, "copy_": _copy_}
    if name in special:
        return special[name]
    if name.startswith("set_.source"):
        return partial(operator.redispatch, _NEUTRAL)
    if name in _METADATA or any(each.alias_info and not each.alias_info.is_write for each in operator._schema.returns):
        has_own = torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "CPU")
        return partial(operator.redispatch, _NEUTRAL) if has_own else None
    return partial(_compute, operator)


_METADATA = {
    *("as_strided_", "detach_", "squeeze_", "squeeze_.dim", "squeeze_.dims", "t_", "transpose_", "unsqueeze_"),
    *("dense_dim", "is_coalesced", "is_pinned", "is_same_size", "sparse_dim", "_has_same_storage_numel"),
}
"""Operations, besides views, that touch no data."""


def _register_operations(library: torch.library.Library, everything: torch.library.Library) -> None:
    for name, operator in _operators("CPU", *_COMPOSITE):
        kernel = _kernel(name, operator)
        if kernel is not None:
            library.impl(name, kernel, "PrivateUse1")
    everything.fallback(_compute, "PrivateUse1")
    for key in ("PrivateUse1", "AutogradPrivateUse1"):
        library.impl("dropout", _dropout, key)
        library.impl("scaled_dot_product_attention", _attention, key)


def _register_autocast(library: torch.library.Library, everything: torch.library.Library) -> None:
    for name, operator in autocast_operators().items():
        library.impl(name, partial(_autocast, operator, name), "AutocastPrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    clear_torch_casts = torch.clear_autocast_cache

    def clear_casts() -> None:
        clear_torch_casts()
        _casts.clear()

    torch.clear_autocast_cache = clear_casts


def _register_resizing() -> None:
    """As on the CPU; where algorithms have to be deterministic, torch gives other devices another formula in Python."""
    for formula, native in (
        ("_upsample_linear_vec", torch._C._nn.upsample_bilinear2d),
        ("upsample_bicubic2d_vec", torch._C._nn.upsample_bicubic2d),
    ):
        other = getattr(decompositions, formula)
        setattr(decompositions, formula, partial(_resized, native, other))


def _resized(native: _Kernel, other: _Kernel, images: Tensor, *how: Any) -> Any:
    return (native if _is_ours(images) else other)(images, *how)


def _register_deep_copies() -> None:
    """A deep copy of a tensor begins with one of its storage, for which torch knows no way on this device."""
    clone_other = torch.UntypedStorage.clone

    def clone(self: torch.UntypedStorage) -> torch.UntypedStorage:
        if self.device.type != NAME:
            return clone_other(self)
        storage = torch._C._construct_storage_from_data_pointer(self.data_ptr(), _HOST, self.nbytes())
        return _as_ours(torch.empty(0, dtype=torch.uint8).set_(clone_other(storage))).untyped_storage()

    torch.UntypedStorage.clone = clone


def _register_moves_of_modules() -> None:
    """A parameter that moves stays the same object, shared by the same modules, as with torch's own devices.

    For these a module changes a parameter's memory in place; for this one torch would make another parameter, unless
    it is told to swap the contents of the two.
    """
    apply_other, future = nn.Module._apply, torch.__future__

    def apply(self: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        before = future.get_swap_module_params_on_conversion()
        moves = _is_ours(change(torch.empty(0))) or any(map(_is_ours, self.parameters(recurse=False)))
        future.set_swap_module_params_on_conversion(before or moves)
        try:
            return apply_other(self, change, recurse)
        finally:
            future.set_swap_module_params_on_conversion(before)

    nn.Module._apply = apply


def _register_waiting() -> None:
    """All is done when it is called, so there is nothing to wait for; torch has no way to say so in Python."""

    def synchronize(device: torch.device | str | int | None = None, /) -> None:
        if device is not None and not isinstance(device, int) and torch.device(device).type != NAME:
            raise ValueError(f"{device} is not {DEVICE}, the accelerator of this process")

    torch.accelerator.synchronize = synchronize


def _register() -> tuple[torch.library.Library, ...]:
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_backend)
    libraries = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    _register_operations(*libraries)
    _register_autocast(*libraries)
    _register_resizing()
    _register_deep_copies()
    _register_moves_of_modules()
    _register_waiting()
    return libraries


_libraries = _register()
"""Kept: a library takes its kernels with it when it goes."""
