"""The quantiser: the loss's right side, the straight way through, a codebook in use."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tasks.synthesis.vq_transformer.quantiser import Quantiser


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def clusters(count: int, dim: int = 6, each: int = 16) -> Tensor:
    """(1, dim, count, each): `count` tight bundles of vectors."""
    centres = torch.randn(count, dim, generator=generator())
    spread = 0.05 * torch.randn(count, each, dim, generator=generator())
    return (centres[:, None] + spread).movedim(-1, 0)[None]


def followed(size: int, vectors: Tensor, steps: int = 60) -> Quantiser:
    quantiser, chance = Quantiser(size, vectors.shape[1], decay=0.8), generator()
    for _ in range(steps):
        quantiser.follow(vectors, chance)
    return quantiser


def test_the_loss_is_the_commitment_whose_gradient_reaches_the_vectors_only() -> None:
    quantiser = followed(8, clusters(8))
    vectors = torch.randn(2, 6, 3, 3, generator=generator(), requires_grad=True)
    quantised = quantiser(vectors)
    assert not list(quantiser.parameters())  # no loss can pull at the codes: they follow
    (gradient,) = torch.autograd.grad(quantised.distances, vectors)
    unit = functional.normalize(vectors, dim=1)
    commitment = (quantiser.lookup(quantised.ids).detach() - unit).square().sum(dim=1).mean()
    (expected,) = torch.autograd.grad(commitment, vectors)
    assert torch.allclose(gradient, expected)
    assert gradient.abs().sum() > 0


def test_gradients_pass_straight_through_to_the_vectors() -> None:
    quantiser = followed(8, clusters(8))
    vectors = torch.randn(1, 6, 2, 2, generator=generator(), requires_grad=True)
    weights = torch.randn(1, 6, 2, 2, generator=generator())
    (through,) = torch.autograd.grad((quantiser(vectors).codes * weights).sum(), vectors)
    (past,) = torch.autograd.grad((functional.normalize(vectors, dim=1) * weights).sum(), vectors)
    assert torch.allclose(through, past)


def test_codes_are_the_nearest_and_of_unit_length() -> None:
    quantiser = followed(8, clusters(8))
    vectors = clusters(8)
    quantised = quantiser(vectors)
    unit = functional.normalize(vectors, dim=1)
    nearest = torch.cdist(unit[0].flatten(1).T, quantiser.codebook).argmin(dim=1)
    assert torch.equal(quantised.ids.flatten(), nearest)
    assert torch.allclose(quantiser.codebook.norm(dim=1), torch.ones(8))


@pytest.mark.parametrize("size", [16, 64])
def test_dead_codes_are_restarted_until_the_codebook_is_in_use(size: int) -> None:
    vectors = clusters(size)
    quantiser = followed(size, vectors)
    assert len(quantiser(vectors).ids.unique()) / size > 0.9
    quantiser.codebook.copy_(quantiser.codebook[:1].expand(size, -1))  # all codes alike: the collapse
    quantiser.sums.copy_(quantiser.codebook)
    chance = generator()
    for _ in range(60):
        quantiser.follow(vectors, chance)
    assert len(quantiser(vectors).ids.unique()) / size > 0.9


def test_codes_become_the_means_of_their_vectors() -> None:
    vectors = clusters(8)
    quantiser = followed(8, vectors, steps=200)
    unit = functional.normalize(vectors, dim=1)[0].flatten(1).T
    ids = quantiser(vectors).ids.flatten()
    for code in ids.unique():
        mean = functional.normalize(unit[ids == code].mean(dim=0), dim=0)
        assert torch.allclose(quantiser.codebook[code], mean, atol=1e-3)
