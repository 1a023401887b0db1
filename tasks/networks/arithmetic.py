"""How a process computes: the same bits each time on the same hardware, and memory that is not given back and forth."""

from __future__ import annotations

import ctypes
import os

import torch

from tasks.params import Params

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Options of mallopt(3)."""


def fix_arithmetic(params: Params) -> None:
    """Fix what changes the order of sums: torch's threads and, on a GPU, the choice and precision of algorithms.

    Called once by every process in which a model works, before it does. What has no repeatable algorithm on a device
    is computed all the same, with a warning of torch's.
    """
    torch.set_num_threads(params.dataset.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products are not repeatable
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that costs a pass over memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep up to 1 GiB of what is freed for the next batch; no bytes change.

    By default it hands every large tensor back to the kernel, which clears the same memory for the next one: a fifth
    of the time that scoring takes on a CPU. Elsewhere than on glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 1 << 30)
