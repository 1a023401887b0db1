"""Seeds are addresses: (dataset, category, index, purpose) fixes every random number of a sample.

A sample's bytes so depend on neither shard size, nor order, nor the number of workers. Streams of
different purposes are independent, so one station's draws never shift another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_of(root: int, dataset: str, category: str, index: int, purpose: str) -> int:
    """The 63-bit seed of one purpose of one sample (63 bits: torch and Parquet hold it signed)."""
    address = f"{root}\x1f{dataset}\x1f{category}\x1f{index}\x1f{purpose}".encode()
    return int.from_bytes(hashlib.sha256(address).digest()[:8], "big") >> 1


def derive(seed: int, purpose: str) -> int:
    """A seed for one purpose below another seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{purpose}".encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def torch_generator(seed: int) -> torch.Generator:
    """A CPU generator: the numbers are then the same whatever device they are used on."""
    import torch  # plans and releases are made where no network is needed

    return torch.Generator().manual_seed(seed)


def choose(sample_ids: Iterable[str], count: int) -> list[str]:
    """The first `count` by the SHA-256 of their names: the same ones each time, and nobody's favourites."""
    return sorted(sample_ids, key=lambda sample_id: hashlib.sha256(sample_id.encode()).digest())[:count]
