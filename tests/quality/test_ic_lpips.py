"""LPIPS as matrix products against the pairwise loop of the reference package, and the rules of clusters by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from skimage import data

from benchmarks.ic_lpips import loop, reference
from tasks.contracts import DefectoryError, Image
from tasks.networks.lpips import LPIPS, Network, shared_lpips
from tasks.quality.ic_lpips import (
    PROTOCOLS,
    FeatureRows,
    Protocol,
    cross_lpips,
    ic_lpips,
    mean_of_clusters,
    pairwise_lpips,
)

SIZE = 48


def crops(photograph: Image, count: int) -> list[Image]:
    """Overlapping parts of one photograph: alike, but not equal."""
    return [photograph[60 : 60 + SIZE, 40 + 7 * n : 40 + 7 * n + SIZE].copy() for n in range(count)]


CATS, COFFEES, ASTRONAUTS = crops(data.chelsea(), 5), crops(data.coffee(), 3), crops(data.astronaut(), 2)


class Reading(Sequence[Image]):
    """Images that are read when they are asked for, and counted."""

    def __init__(self, images: list[Image]) -> None:
        self.images, self.reads = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        self.reads += 1
        return self.images[number]


def lpips(first: Image, second: Image, network: Network = "alexnet") -> float:
    pair = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (first, second)]
    return float(shared_lpips(network)(*pair))


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_the_matrix_equals_the_loop_of_the_reference_package(network: Network) -> None:
    images = [*CATS[:3], *COFFEES[:2], *ASTRONAUTS]
    matrix = pairwise_lpips(FeatureRows(shared_lpips(network), images))
    pairs = [(i, j) for i in range(len(images)) for j in range(i + 1, len(images))]
    expected, _ = loop(reference(shared_lpips(network)), images, pairs)
    assert np.abs([matrix[pair] for pair in pairs] - np.array(expected)).max() < 1e-4
    assert min(expected) > 0.01
    assert np.abs(matrix - matrix.T).max() < 1e-5
    assert not matrix.diagonal().any()


def test_two_sets_are_compared_image_by_image() -> None:
    network = shared_lpips()
    matrix = cross_lpips(FeatureRows(network, CATS), FeatureRows(network, COFFEES))
    assert matrix.shape == (5, 3)
    assert matrix[4, 2] == pytest.approx(lpips(CATS[4], COFFEES[2]), abs=1e-5)


def test_near_duplicates_keep_their_small_distance() -> None:
    """The difference of large numbers must not swallow it."""
    changed = CATS[0].copy()
    changed[20, 20] ^= 16
    matrix = pairwise_lpips(FeatureRows(shared_lpips(), [CATS[0], changed]))
    expected = lpips(CATS[0], changed)
    assert 2e-5 < expected < 3e-5
    assert matrix[0, 1] == pytest.approx(expected, abs=5e-6)


def test_features_are_computed_once_and_with_little_memory_again() -> None:
    images = [*CATS, *COFFEES, *ASTRONAUTS]
    network = LPIPS()
    whole, bounded = Reading(images), Reading(images)
    expected = pairwise_lpips(FeatureRows(network, whole))
    row = FeatureRows(network, images).rows([0]).nbytes
    rows = FeatureRows(network, bounded, memory=12 * row)
    assert np.abs(pairwise_lpips(rows) - expected).max() < 1e-5
    assert whole.reads == len(images) + 1
    assert bounded.reads > len(images)
    assert len(rows._kept) == 6
    assert all(len(part) <= 3 for _, part in rows.blocks(range(len(images))))


def test_images_of_several_sizes_are_refused() -> None:
    with pytest.raises(DefectoryError, match="one size"):
        pairwise_lpips(FeatureRows(shared_lpips(), [CATS[0], CATS[1][:40, :40]]))


def test_clusters_by_hand() -> None:
    """Three cats around a cat, one coffee around a coffee, and nobody around the astronaut."""
    generated, real = [CATS[0], COFFEES[0], CATS[1], CATS[2]], [CATS[4], COFFEES[2], ASTRONAUTS[0]]
    cats = np.mean([lpips(CATS[0], CATS[1]), lpips(CATS[0], CATS[2]), lpips(CATS[1], CATS[2])])
    skipping = ic_lpips(generated, real, Protocol("alexnet", 50, "random", "skip"))
    assert skipping.cluster_sizes == (3, 1, 0)
    assert skipping.cluster_means[0] == pytest.approx(cats, abs=1e-5)
    assert np.isnan(skipping.cluster_means[1:]).all()
    assert skipping.value == pytest.approx(cats, abs=1e-5)
    assert ic_lpips(generated, real, PROTOCOLS["dfmgan"]).value == pytest.approx(cats / 3, abs=1e-5)


def test_of_a_large_cluster_the_first_or_a_seeded_choice_is_compared() -> None:
    first = ic_lpips(CATS, [CATS[0]], Protocol("alexnet", 2, "first", "skip"))
    assert first.value == pytest.approx(lpips(CATS[0], CATS[1]), abs=1e-5)
    assert first.cluster_sizes == (5,)
    drawn = [ic_lpips(CATS, [CATS[0]], Protocol("alexnet", 2, "random", "skip"), seed).value for seed in range(6)]
    assert len(set(drawn)) > 1
    assert ic_lpips(CATS, [CATS[0]], Protocol("alexnet", 2, "random", "skip"), 0).value == drawn[0]


def test_the_mean_over_clusters_declares_what_becomes_of_those_without_a_pair() -> None:
    means = [0.4, float("nan"), 0.2, float("nan")]
    assert mean_of_clusters(means, PROTOCOLS["dfmgan"]) == pytest.approx(0.15)
    assert mean_of_clusters(means, PROTOCOLS["seas"]) == pytest.approx(0.3)
    assert np.isnan(mean_of_clusters([float("nan")], PROTOCOLS["magic"]))


def test_without_real_images_there_are_no_clusters() -> None:
    with pytest.raises(DefectoryError, match="real images"):
        ic_lpips(CATS, [], PROTOCOLS["dfmgan"])
