"""The prior: what it sees when, its cache, and the order in which it reads."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tasks.synthesis.vq_transformer.grids import random_known, reading_order
from tasks.synthesis.vq_transformer.prior import Prior, TokenWindow, cover_of
from tests.synthesis.vq_transformer.patterns import tiny_params

CELLS = 16


def prior_and_window() -> tuple[Prior, TokenWindow, Tensor]:
    torch.manual_seed(0)
    prior = Prior(10, 3, 4, 4, tiny_params()).eval()
    known = torch.rand(2, CELLS) < 0.6
    positions = torch.rand(2, CELLS, 2)
    window = TokenWindow(torch.tensor([0, 2]), torch.tensor([3, 1]), positions, (~known).long(), reading_order(known))
    return prior, window, torch.randint(10, (2, CELLS))


def test_known_cells_are_read_first_and_each_group_in_raster_order() -> None:
    known = torch.tensor([False, True, False, True, False])
    assert reading_order(known).tolist() == [1, 3, 0, 2, 4]
    free = torch.tensor([False, False, True, False, True])
    assert reading_order(known, free).tolist() == [1, 3, 2, 4, 0]
    nothing = torch.zeros(5, dtype=torch.bool)
    assert reading_order(nothing).tolist() == [0, 1, 2, 3, 4]


def test_what_a_sliding_window_knows_lies_above_and_left() -> None:
    generator = torch.Generator().manual_seed(0)
    knowns = [random_known(6, generator).view(6, 6) for _ in range(60)]
    assert any(not known.any() for known in knowns)
    assert any(known.any() for known in knowns)
    for known in knowns:
        assert not (~known[:-1] & known[1:] & ~known[1:, :1]).any()
        assert not known[-1, -1]


def test_a_token_depends_on_those_read_before_it_alone() -> None:
    prior, window, ids = prior_and_window()
    with torch.no_grad():
        before = prior(ids, window)
        changed = ids.clone()
        changed[:, 9] = (changed[:, 9] + 1) % 10
        after = prior(changed, window)
    assert torch.equal(before[:, :10], after[:, :10])
    assert (before[:, 10:] != after[:, 10:]).any(dim=-1).all()


def test_every_condition_is_heard() -> None:
    prior, window, ids = prior_and_window()
    with torch.no_grad():
        before = prior(ids, window)
        for other in (
            replace(window, labels=torch.tensor([1, 1])),
            replace(window, settings=torch.tensor([0, 0])),
            replace(window, positions=torch.full_like(window.positions, -1.0)),
            replace(window, covers=2 - window.covers),
        ):
            assert (prior(ids, other) != before).any(dim=-1).all()


def test_reading_on_with_a_cache_is_reading_anew() -> None:
    prior, window, ids = prior_and_window()
    with torch.no_grad():
        whole = prior(ids, window)
        for start in (0, 5):
            logits, cache = prior.begin(ids, start, window)
            assert torch.allclose(logits, whole[:, start], atol=1e-5)
            for number in range(start, CELLS - 1):
                logits = prior.go_on(ids, number, window, cache)
                assert torch.allclose(logits, whole[:, number + 1], atol=1e-5)


def test_covers_tell_cells_met_from_cells_within() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:16, :9] = 1
    assert cover_of(mask, 8)[0].tolist() == [[0, 0], [2, 1]]
