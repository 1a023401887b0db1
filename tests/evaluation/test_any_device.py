"""Detectors and classifiers on a pretend accelerator: nothing is mixed with the host's tensors, the results are its."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tasks.detectors import classifier, feature_classifier, localiser, memory_bank, probe
from tasks.detectors.protocol import Arm, Detector
from tasks.evaluation.likeness import likenesses_of
from tasks.networks.device import HOST, device_of
from tasks.params.detectors import ClassifierParams, EvaluateParams, LocaliserParams, ProbeParams
from tasks.progress import silent
from tests import pretend_device
from tests.detectors.pictures import arm, defective, held_out

pytestmark = pytest.mark.usefixtures("deterministic")

PRETEND = torch.device(pretend_device.NAME, 0)
DETECTORS: dict[str, Detector] = {"localiser": localiser, "memory_bank": memory_bank, "probe": probe}
TYPES = Arm("types", "ours", (), tuple(defective(number, kind) for kind in ("dent", "spot") for number in range(3)))


def params(precision: Literal["float32", "bfloat16"] = "float32") -> EvaluateParams:
    return EvaluateParams(
        image_size=64,
        probe=ProbeParams(normal_cells=200, defect_cells=100),
        localiser=LocaliserParams(width=4, steps=3, batch_size=2, precision=precision),
        classifier=ClassifierParams(steps=2, batch_size=2),
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_scores_as_on_the_host(name: str, precision: Literal["float32", "bfloat16"]) -> None:
    detector, images = DETECTORS[name], held_out(2).images
    expected, found = (
        detector.score(detector.fit(arm(4), params(precision), 0, device, silent), images) for device in (HOST, PRETEND)
    )
    assert np.array_equal(found.maps, expected.maps)
    assert np.array_equal(found.image_scores, expected.image_scores)


def test_the_classifier_learns_the_same_with_the_same_draws() -> None:
    """Its network leaves blocks out at random, which it would draw where its images are."""
    expected, found = (classifier.fit(TYPES, params(), 0, device, silent) for device in (HOST, PRETEND))
    assert device_of(found.network) == PRETEND
    weights = found.network.state_dict()
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(weights[name].to(HOST), tensor)
    images = [example.image for example in TYPES.defects]
    assert classifier.predict(found, images) == classifier.predict(expected, images)


def test_types_are_told_apart_by_the_same_features() -> None:
    models = [feature_classifier.fit(TYPES, params(), 0, device) for device in (HOST, PRETEND)]
    expected, found = (model.pipeline["regression"].coef_ for model in models)
    assert np.array_equal(found, expected)
    assert feature_classifier.predict(models[1], TYPES.defects) == feature_classifier.predict(models[0], TYPES.defects)


def test_likenesses_are_the_same() -> None:
    real = [defective(number) for number in range(20, 24)]
    expected, found = (list(likenesses_of([arm(4)], real, device)) for device in (HOST, PRETEND))
    assert found == expected
