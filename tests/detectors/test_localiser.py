"""Tier 2's localiser: it learns what the masks say, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.contracts import DefectoryError
from tasks.detectors import localiser
from tasks.detectors.protocol import Arm
from tasks.evaluation.metrics.exact import image_metrics, pixel_metrics
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams, LocaliserParams
from tasks.progress import silent
from tests.detectors.pictures import arm, defective, held_out, normal

PARAMS = EvaluateParams(image_size=64, localiser=LocaliserParams(width=4, steps=60, batch_size=4, learning_rate=1e-2))


def fitted(trained_on: Arm, seed: int = 0) -> localiser.SegmentationUNet:
    return localiser.fit(trained_on, PARAMS, seed, HOST, silent)


@pytest.fixture(scope="module")
def model() -> localiser.SegmentationUNet:
    return fitted(arm())


def test_it_finds_defects_that_it_has_not_seen(model: localiser.SegmentationUNet) -> None:
    test = held_out()
    scored = localiser.score(model, test.images)
    assert test.masks is not None
    assert pixel_metrics(scored.maps, test.masks)["pixel_ap"] > 0.8  # seen: 0.93 at the least
    assert image_metrics(scored.image_scores, test.defective)["image_auroc"] > 0.9


def test_masks_that_lie_elsewhere_teach_it_nothing_of_defects() -> None:
    corner = np.zeros((64, 64), bool)
    corner[:12, :12] = True
    control = replace(arm(), defects=tuple(replace(example, mask=corner) for example in arm().defects))
    test = held_out()
    assert test.masks is not None
    scored = localiser.score(fitted(control), test.images)
    assert pixel_metrics(scored.maps, test.masks)["pixel_ap"] < 0.3


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(model: localiser.SegmentationUNet) -> None:
    images = held_out().images
    maps = localiser.score(model, images).maps
    assert np.array_equal(localiser.score(fitted(arm()), images).maps, maps)
    assert not np.array_equal(localiser.score(fitted(arm(), seed=1), images).maps, maps)


def test_an_images_scores_do_not_depend_on_those_beside_it(model: localiser.SegmentationUNet) -> None:
    images = held_out().images
    together, alone = localiser.score(model, images), localiser.score(model, images[3:4])
    assert np.array_equal(together.maps[3], alone.maps[0])
    assert together.image_scores[3] == alone.image_scores[0]


def test_the_network_keeps_the_images_size() -> None:
    network = localiser.SegmentationUNet(2).eval()
    assert network(torch.zeros(1, 3, 96, 64)).shape == (1, 96, 64)


def test_types_and_origins_are_drawn_in_equal_shares() -> None:
    dents = [defective(number, origin="painter") for number in range(30)]
    spots = [defective(number, "spot") for number in range(2)]
    mixed = Arm("mixed", "ours", (normal(0),), (*dents, defective(99), *spots))
    drawn = {"painter": 0, "dent": 0, "spot": 0}
    wanted = LocaliserParams(steps=200, batch_size=8, defect_share=1.0)
    known = {example.image.tobytes(): example for example in mixed.defects}
    for images, _ in localiser._batches(mixed, wanted, seed=0):
        for image in images:
            levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            example = known[levels.tobytes()]
            drawn["painter" if example.origin == "painter" else example.defect_type] += 1
    total = sum(drawn.values())
    shares = {name: count / total for name, count in drawn.items()}
    assert shares == pytest.approx({"painter": 0.25, "dent": 0.25, "spot": 0.5}, abs=0.05)


def test_an_arm_that_it_cannot_learn_from_is_named() -> None:
    with pytest.raises(DefectoryError, match=r"arm discs.*12 and 0.*memory bank"):
        fitted(arm(defects=0))
    unmasked = replace(arm(), defects=(replace(defective(1), mask=None),))
    with pytest.raises(DefectoryError, match="part/dent/1 is defective and has no mask"):
        fitted(unmasked)
