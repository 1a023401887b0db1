"""AnomalyDiffusion's attention weights: their bounds, where they are large, and what they multiply."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tasks.synthesis.anomalydiffusion.sampler import attention_weights, reweighted

LIMIT = 1.5


@pytest.fixture
def cells() -> Tensor:
    cells = torch.zeros(3, 1, 8, 8)
    cells[0, :, 2:6, 2:6] = 1
    cells[1, :, 0:1, 0:3] = 1
    return cells


def random_pair() -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return first, second


def test_weights_are_at_least_one_and_one_outside(cells: Tensor) -> None:
    weights = attention_weights(*random_pair(), cells, LIMIT)
    assert weights.shape == cells.shape
    assert weights.min() == 1
    assert weights.max() <= LIMIT
    assert torch.equal(weights[cells == 0], torch.ones_like(weights[cells == 0]))
    for weight, mask in zip(weights[:2], cells[:2], strict=True):
        assert weight[mask == 1].mean() > 1
    assert torch.equal(weights[2], torch.ones_like(weights[2]))


def test_by_hand() -> None:
    """|m| Softmax(1 / d), with 1 / d in parts of its mean: three cells whose differences are 1, 2 and 6."""
    cells = torch.zeros(1, 1, 2, 2)
    cells[..., 0, 0] = cells[..., 0, 1] = cells[..., 1, 0] = 1
    clean = torch.zeros(1, 1, 2, 2)
    estimate = torch.tensor([[1.0, 2.0], [6.0, 100.0]]).sqrt().view(1, 1, 2, 2)
    expected = 3 * torch.tensor([1.8, 0.9, 0.3]).softmax(dim=0)
    weights = attention_weights(estimate, clean, cells, limit=10.0).flatten()
    assert torch.allclose(weights, torch.tensor([expected[0], 1.0, 1.0, 1.0]), atol=1e-5)


def test_the_faintest_cell_gets_the_most_whatever_the_codecs_units(cells: Tensor) -> None:
    estimate, clean = random_pair()
    estimate[0, :, 3, 4] = clean[0, :, 3, 4] + 0.1
    weights = attention_weights(estimate, clean, cells, LIMIT)
    assert weights[0, 0, 3, 4] == LIMIT == weights[0].max()
    assert torch.allclose(attention_weights(7 * estimate, 7 * clean, cells, LIMIT), weights, atol=1e-5)


def test_a_fill_that_is_the_clean_image_gives_no_infinity(cells: Tensor) -> None:
    _, clean = random_pair()
    assert torch.allclose(attention_weights(clean, clean, cells, LIMIT), torch.ones(3, 1, 8, 8))


def test_only_the_anomalys_scores_are_multiplied(cells: Tensor) -> None:
    scores = torch.randn(3, 2, 16, 7, generator=torch.Generator().manual_seed(1))
    weights = 1 + 0.5 * cells
    edited = reweighted(weights, 3)(scores, 4)
    assert torch.equal(edited[..., :4], scores[..., :4])
    quarter = weights.view(3, 4, 2, 4, 2).mean(dim=(2, 4)).view(3, 1, 16, 1)
    assert torch.allclose(edited[..., 4:], scores[..., 4:] * quarter)


def test_a_weight_of_one_changes_no_bit() -> None:
    scores = torch.randn(2, 2, 64, 7, generator=torch.Generator().manual_seed(2))
    assert torch.equal(reweighted(torch.ones(2, 1, 16, 16), 3)(scores, 8), scores)
