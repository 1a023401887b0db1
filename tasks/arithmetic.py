"""Floating-point arithmetic that gives the same bits each time on the same hardware."""

from __future__ import annotations

import torch

from tasks.params import Params


def fix_arithmetic(params: Params) -> None:
    """Fix what changes the order of sums: torch's threads and, on a GPU, the choice of algorithms.

    Called once by every process in which a model works, before it does.
    """
    torch.set_num_threads(params.dataset.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
