"""Where networks run: one device a process, chosen here and handed down as an argument.

No other module of `tasks` names a kind of device. What is random is drawn on the host, from seeds, and moved, so that
a sample's randomness is the same on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tasks.contracts import DefectoryError

HOST = torch.device("cpu")
"""Where numbers are drawn, pictures are read and files are written."""

_Value = TypeVar("_Value")


def choose_device(wanted: str = "") -> torch.device:
    """The device of this name (`cpu`, `cuda`, `cuda:1`, `mps`, …); without one the best there is.

    Raises DefectoryError where it is not there.
    """
    if not wanted:
        return torch.accelerator.current_accelerator(check_available=True) or HOST
    try:
        return torch.empty(1, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DefectoryError(f"device {wanted!r}: {reason}; leave it out or name another, such as cpu") from None


def describe_device(device: torch.device) -> str:
    """For people: its name in code, and what it is called by its maker where that is known."""
    details = getattr(torch, device.type, None)
    name = getattr(details, "get_device_name", None)
    return f"{device} ({name(device)})" if device != HOST and name else str(device)


def device_of(module: nn.Module) -> torch.device:
    """Where a network's tensors are; the host for one that has none."""
    held: Iterator[Tensor] = chain(module.parameters(), module.buffers())
    first = next(held, None)
    return HOST if first is None else first.device


def moved(value: _Value, device: torch.device) -> _Value:
    """A tensor, or a dataclass, list or tuple with tensors in it, on the device; anything else as it is.

    Nothing waits for the copies: they are done in the order in which the device works.
    """
    there: Any = value
    if isinstance(value, Tensor):
        there = value.to(device, non_blocking=device != HOST)  # what comes to the host is read there at once
    elif is_dataclass(value) and not isinstance(value, type):
        there = replace(value, **{each.name: moved(getattr(value, each.name), device) for each in fields(value)})
    elif isinstance(value, list | tuple):
        there = type(value)(moved(each, device) for each in value)
    result: _Value = there
    return result


def lower_precision(device: torch.device) -> torch.autocast:
    """The context in which networks work: in bfloat16 what stands it, where the device has units for that.

    Elsewhere nothing changes and all is float32: a processor without such units takes six times as long for a U-Net
    in bfloat16 as in float32. Like the order of sums, it is fixed by the hardware.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device))


def _has_bfloat16(device: torch.device) -> bool:
    if device == HOST:
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return supported is None or supported(including_emulation=False)


def wait_for(device: torch.device) -> None:
    """Until all that the device was given is done: for clocks, for nothing else needs it."""
    if device != HOST:
        torch.accelerator.synchronize(device)
