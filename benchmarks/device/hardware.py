"""The two ceilings of a device: how fast it multiplies, and how fast it moves bytes."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.device.sizes import Sizes
from benchmarks.device.timing import median_seconds
from tasks.networks.device import describe_device


def hardware_row(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    return {
        "device": describe_device(device),
        "torch": torch.__version__,
        "host threads": torch.get_num_threads(),
        "bf16 product (TFLOP/s)": matrix_rate(device, sizes) / 1e12,
        "copy (GB/s)": copy_rate(device, sizes) / 1e9,
    }


def matrix_rate(device: torch.device, sizes: Sizes) -> float:
    """Floating-point operations a second of a square matrix product in bfloat16, on random numbers."""
    side = sizes.matrix
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / median_seconds(device, lambda: left @ right, sizes.repeats)


def copy_rate(device: torch.device, sizes: Sizes) -> float:
    """Bytes a second, read and written, of a copy within the device's memory."""
    source = torch.empty(sizes.copied_bytes // 4, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * sizes.copied_bytes / median_seconds(device, lambda: target.copy_(source), sizes.repeats)
