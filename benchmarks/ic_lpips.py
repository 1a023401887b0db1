"""LPIPS between all pairs of N images: matrix products beside the loop of the `lpips` package over the pairs.

    python -m benchmarks.ic_lpips [--images 1000] [--pairs 200] [--network alexnet] [--memory 4]

The images are solar cells of the package elpv-dataset at 256 px. The matrix is computed wholly, from images to
distances. The loop is timed on some of the pairs, drawn with a fixed seed, and that time is scaled to all of them; on
the same pairs the distances are compared. Both have the same weights and the same threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import nn

from benchmarks.figures import print_figure
from tasks.contracts import Image
from tasks.networks.lpips import LPIPS, Network
from tasks.quality.ic_lpips import FeatureRows, pairwise_lpips

_SIZE = 256
_AIM = 100.0
_TOLERANCE = 1e-4


def solar_cells(count: int) -> list[Image]:
    """The first `count` cells of elpv-dataset, RGB at 256 px."""
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None
    assert spec.origin is not None
    paths = sorted((Path(spec.origin).parent / "data" / "images").glob("*.png"))[:count]
    return [np.asarray(PIL.Image.open(path).convert("RGB").resize((_SIZE, _SIZE))) for path in paths]


def reference(ours: LPIPS) -> nn.Module:
    """The package's own module, with the weights that the package would fetch from a hub."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lpips

        net = {"alexnet": "alex", "vgg16": "vgg"}[ours.network]
        module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for part in module.net.children():
        for position, layer in part.named_children():
            layer.load_state_dict(ours.layers[int(position)].state_dict())
    return module


@torch.inference_mode()
def loop(module: nn.Module, images: list[Image], pairs: list[tuple[int, int]]) -> tuple[list[float], float]:
    """The distance of each pair by a call of its own, and the seconds a pair."""
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in images]
    module(tensors[0], tensors[1])
    start = time.perf_counter()
    distances = [float(module(tensors[first], tensors[second])) for first, second in pairs]
    return distances, (time.perf_counter() - start) / len(pairs)


def some_pairs(count: int, images: int) -> list[tuple[int, int]]:
    generator = np.random.default_rng(0)
    drawn = (generator.choice(images, 2, replace=False) for _ in range(count))
    return [(int(first), int(second)) for first, second in drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=200, help="of the loop that are timed")
    parser.add_argument("--network", choices=("alexnet", "vgg16"), default="alexnet")
    parser.add_argument("--memory", type=float, default=4, help="GiB of features")
    given = parser.parse_args()
    network: Network = given.network
    images = solar_cells(given.images)
    ours = LPIPS(network)
    start = time.perf_counter()
    matrix = pairwise_lpips(FeatureRows(ours, images, int(given.memory * 2**30)))
    seconds = time.perf_counter() - start
    pairs = some_pairs(given.pairs, len(images))
    expected, a_pair = loop(reference(ours), images, pairs)
    difference = max(abs(matrix[pair] - distance) for pair, distance in zip(pairs, expected, strict=True))
    every = len(images) * (len(images) - 1) // 2
    print(f"{len(images)} images, {every} pairs, LPIPS with {network}")
    print(f"matrix: {seconds:.1f} s in all; loop: {a_pair * 1000:.1f} ms a pair (of {len(pairs)}), ", end="")
    print(f"{a_pair * every:.0f} s when scaled to all")
    print(f"largest difference there: {difference:.1e}, distances from {min(expected):.3f} to {max(expected):.3f}")
    ratio = a_pair * every / seconds
    print_figure(
        "ic_lpips",
        ratio,
        "times faster than the loop",
        f">= {_AIM:g}, equal to {_TOLERANCE:g}",
        bool(ratio >= _AIM and difference <= _TOLERANCE),
    )


if __name__ == "__main__":
    main()
