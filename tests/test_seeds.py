"""Seeds are addresses: every part of one counts, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.seeds import derive, numpy_generator, seed_of, torch_generator

ADDRESS = (20, "cells", "mono", 3, "mask")
SEED, DERIVED = 754233424824059452, 6080772098432402386


@pytest.mark.parametrize(
    "other",
    [
        (21, "cells", "mono", 3, "mask"),
        (20, "cell", "mono", 3, "mask"),
        (20, "cells", "poly", 3, "mask"),
        (20, "cells", "mono", 4, "mask"),
        (20, "cells", "mono", 3, "paint"),
        (20, "cellsm", "ono", 3, "mask"),
    ],
)
def test_every_part_of_an_address_counts(other: tuple[int, str, str, int, str]) -> None:
    assert seed_of(*ADDRESS) != seed_of(*other)


def test_seeds_are_the_same_in_every_process_and_release() -> None:
    """Changed numbers would change every dataset made so far."""
    assert seed_of(*ADDRESS) == SEED
    assert derive(SEED, "mask") == DERIVED


def test_seeds_fit_signed_64_bits_and_do_not_collide() -> None:
    seeds = {seed_of(0, "cells", "mono", index, "mask") for index in range(20_000)}
    assert len(seeds) == 20_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_streams_of_two_purposes_are_unrelated() -> None:
    seed = seed_of(*ADDRESS)
    first = numpy_generator(derive(seed, "mask")).normal(size=4000)
    second = numpy_generator(derive(seed, "paint")).normal(size=4000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_generators_repeat() -> None:
    assert numpy_generator(5).integers(1 << 60) == numpy_generator(5).integers(1 << 60)
    assert torch.equal(torch.randn(5, generator=torch_generator(5)), torch.randn(5, generator=torch_generator(5)))
