"""Filling in tokens: what stays, what is drawn, the window that slides, and the strength that orders."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from tasks.networks.device import HOST
from tasks.synthesis.vq_transformer.fill import TokenRequest, draw_ids, fill_tokens, guided_logits, gumbel, views_over
from tasks.synthesis.vq_transformer.likelihood import negative_log_likelihood
from tests import pretend_device
from tests.synthesis.vq_transformer.patterns import SPECK, SPECKS, STRIPES, WINDOW, stripes, trained_prior


def filled(ids: Tensor, free: Tensor, label: int = STRIPES, strength: float = 1.0, seed: int = 0) -> Tensor:
    wish = TokenRequest(label, STRIPES, strength, temperature=0.5)
    return fill_tokens(trained_prior(), ids, free, 2 * free.long(), wish, torch.Generator().manual_seed(seed))


def patch(height: int, width: int, top: int, left: int) -> Tensor:
    free = torch.zeros((height, width), dtype=torch.bool)
    free[top : top + 4, left : left + 5] = True
    return free


@pytest.mark.parametrize(
    "free", [patch(12, 12, 3, 4), patch(30, 9, 20, 0), torch.rand(16, 16) < 0.3, torch.ones(9, 14) > 0]
)
def test_windows_want_every_free_cell_once_and_see_what_was_made_before(free: Tensor) -> None:
    made = torch.zeros_like(free)
    for view in views_over(free, WINDOW):
        wanted, known = (cells.view(WINDOW, WINDOW) for cells in (view.wanted, view.known))
        assert wanted.any()
        assert not (made[view.part] & wanted).any()
        assert torch.equal(known, ~free[view.part] | made[view.part])
        made[view.part] |= wanted
    assert torch.equal(made, free)


def test_tokens_that_are_not_free_stay_as_they_are() -> None:
    torch.manual_seed(0)
    ids, free = torch.randint(5, (20, 20)), torch.rand(20, 20) < 0.3
    new = filled(ids, free, SPECKS, strength=3.0)
    assert torch.equal(new[~free], ids[~free])
    assert (new[free] != ids[free]).any()


def test_what_is_drawn_fits_its_surroundings() -> None:
    free = patch(12, 12, 4, 3)
    for phase in range(5):
        ids = stripes(12, 12, phase)
        assert (filled(ids, free) == ids)[free].float().mean() > 0.9


def test_what_lies_right_of_the_mask_and_below_is_seen() -> None:
    ids, free = stripes(12, 12, 0), patch(12, 12, 4, 3)
    for beyond in ((6, 8), (8, 5)):
        other = ids.clone()
        other[beyond] = SPECK
        before, after = (
            negative_log_likelihood(trained_prior(), grid, free, 2 * free.long(), STRIPES) for grid in (ids, other)
        )
        assert before[4, 3] != after[4, 3]


def test_old_ids_of_free_cells_are_not_seen() -> None:
    ids, free = stripes(12, 12, 0), patch(12, 12, 4, 4)
    other = torch.where(free, SPECK, ids)
    assert torch.equal(filled(ids, free), filled(other, free))


def test_a_sliding_window_leaves_no_seam() -> None:
    side, made = 3 * WINDOW, []
    nothing = torch.zeros((side, side), dtype=torch.long)
    for seed in range(3):
        wish = TokenRequest(STRIPES, STRIPES, 1.0, temperature=0.5)
        generator = torch.Generator().manual_seed(seed)
        made.append(fill_tokens(trained_prior(), nothing, nothing == 0, nothing, wish, generator))
    steps = torch.stack([grid.diff(dim=1).remainder(5) for grid in made]).float()
    edges = {
        view.left + int(view.wanted.view(WINDOW, WINDOW).any(dim=0).nonzero().max())
        for view in views_over(nothing == 0, WINDOW)
    }
    borders = torch.zeros(side - 1, dtype=torch.bool)
    borders[[edge for edge in edges if edge < side - 1]] = True
    assert borders.any()
    assert steps[..., borders].mean() <= 1.1 * steps[..., ~borders].mean()
    assert (steps == 1).float().mean() > 0.9


def test_strength_orders_how_far_a_draw_is_from_the_rival() -> None:
    label, rival = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    distances = []
    for strength in (0.0, 0.5, 1.0, 2.0, 4.0):
        probability = guided_logits(label, rival, strength).softmax(dim=-1)
        distances.append(float((probability * (probability.log() - rival.log_softmax(dim=-1))).sum()))
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances)


def test_a_stronger_wish_leaves_more_of_the_defect() -> None:
    ids, free = stripes(12, 12, 2), patch(12, 12, 4, 3)
    specks = [
        sum(int((filled(ids, free, SPECKS, strength, seed)[free] == SPECK).sum()) for seed in range(3))
        for strength in (0.0, 0.5, 1.0, 3.0)
    ]
    assert specks == sorted(specks)
    assert specks[0] == 0
    assert specks[-1] == 3 * int(free.sum())


def test_draws_follow_the_distribution_within_the_likeliest() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    noise = gumbel((20000, 4), torch.Generator().manual_seed(0))
    ids = draw_ids(logits.expand(20000, 4), 1.0, 3, noise)
    shares = torch.bincount(ids, minlength=4) / 20000
    assert torch.allclose(shares, torch.cat([logits[:3].softmax(0), torch.zeros(1)]), atol=0.015)


def test_what_breaks_the_pattern_is_unlikely() -> None:
    ids, free = stripes(12, 12, 1), patch(12, 12, 4, 3)
    broken = torch.where(free, ids.flip(1), ids)
    normal, odd = (
        negative_log_likelihood(trained_prior(), grid, free, 2 * free.long(), STRIPES) for grid in (ids, broken)
    )
    assert normal[free].mean() < 0.3
    assert odd[free].mean() > 1
    assert not normal[~free].any()


def test_an_accelerator_fills_in_the_same_and_tells_the_same_likelihoods() -> None:
    prior = deepcopy(trained_prior()).to(pretend_device.NAME)
    ids, free = stripes(20, 12, 2), patch(20, 12, 4, 3) | patch(20, 12, 14, 6)
    wish, covers = TokenRequest(SPECKS, STRIPES, 1.5, temperature=0.5), 2 * free.long()
    made = fill_tokens(prior, ids.to(pretend_device.NAME), free, covers, wish, torch.Generator().manual_seed(0))
    expected = fill_tokens(trained_prior(), ids, free, covers, wish, torch.Generator().manual_seed(0))
    assert made.device.type == pretend_device.NAME
    assert torch.equal(made.to(HOST), expected)
    nats, same = (negative_log_likelihood(each, ids, free, covers, STRIPES) for each in (prior, trained_prior()))
    assert torch.equal(nats, same)
