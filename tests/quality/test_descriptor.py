"""Descriptors against the LPIPS distances they estimate, on photographs and their disturbed copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from tasks.networks.lpips import LPIPS
from tasks.quality.descriptor import DESCRIPTOR_LENGTH, descriptors_of, shrink


@pytest.fixture(scope="module")
def network() -> LPIPS:
    return LPIPS()


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Three photographs, each also under two strengths of noise and shifted: distances from tiny to large."""
    generator = torch.Generator().manual_seed(6)
    pictures = [data.astronaut()[:256, 100:356], data.coffee()[:256, :256], data.chelsea()[:256, :256]]
    originals = torch.stack([torch.from_numpy(p.copy()).permute(2, 0, 1) for p in pictures]).float() / 127.5 - 1
    noisy = [originals + sigma * torch.randn(originals.shape, generator=generator) for sigma in (0.1, 0.4)]
    return torch.cat([originals, *noisy, originals.roll(8, dims=3)]).clamp(-1, 1)


@torch.inference_mode()
def test_squared_distances_estimate_lpips(network: LPIPS, images: Tensor) -> None:
    first, second = torch.triu_indices(len(images), len(images), offset=1)
    small = shrink(images)
    true = network(small[first], small[second]).numpy()
    descriptors = descriptors_of(network, images).float()
    estimated = (descriptors[first] - descriptors[second]).square().sum(dim=1).numpy()
    relative = (estimated - true) / true
    assert true.min() < 0.05
    assert true.max() > 0.5
    assert np.corrcoef(true, estimated)[0, 1] > 0.99
    assert np.abs(relative).max() < 0.3
    assert np.sqrt(np.square(relative).mean()) < 0.1
    assert abs(relative.mean()) < 0.06


@torch.inference_mode()
def test_descriptors_are_the_same_bytes_each_time_and_equal_for_equal_images(network: LPIPS, images: Tensor) -> None:
    once, again = descriptors_of(network, images[:4]), descriptors_of(network, images[:4])
    assert once.dtype == torch.float16
    assert once.shape == (4, DESCRIPTOR_LENGTH)
    assert once.numpy().tobytes() == again.numpy().tobytes()
    twice = descriptors_of(network, images[:1].repeat(2, 1, 1, 1))
    assert torch.equal(twice[0], twice[1])


@torch.inference_mode()
def test_descriptors_stay_in_the_range_where_their_distances_are_exact(network: LPIPS, images: Tensor) -> None:
    assert descriptors_of(network, images).double().square().sum(dim=1).max() < 8
