"""Trainings are kept: nothing is trained twice, and nothing stale is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.contracts import Image
from tasks.detectors.protocol import Arm, Scored, TestSet
from tasks.evaluation.scoring import score_arm
from tasks.networks.device import HOST
from tasks.params.detectors import EvaluateParams, ProbeParams
from tasks.progress import Report
from tests.detectors.pictures import arm, defective, held_out, normal

PARAMS = EvaluateParams(image_size=64)


class Counting:
    """A detector that says how many defects it was trained on, with more digits than a file keeps."""

    def __init__(self) -> None:
        self.trainings = 0

    def fit(self, arm: Arm, params: EvaluateParams, seed: int, device: torch.device, report: Report) -> float:
        self.trainings += 1
        return len(arm.defects) + seed + 1 / 3

    def score(self, model: float, images: Sequence[Image]) -> Scored:
        return Scored(np.full((len(images), 64, 64), model, np.float32), np.full(len(images), model, np.float32))


@pytest.fixture
def detector() -> Counting:
    return Counting()


def scored(
    detector: Counting, folder: Path, parts: Sequence[Arm], params: EvaluateParams = PARAMS, seed: int = 0
) -> Scored:
    return score_arm(parts, held_out(), ("probe", detector), params, seed, folder, HOST, lambda what, done, total: None)


def test_a_kept_score_is_the_score_itself(detector: Counting, tmp_path: Path) -> None:
    first, again = scored(detector, tmp_path, [arm()]), scored(detector, tmp_path, [arm()])
    assert detector.trainings == 1
    assert np.array_equal(first.maps, again.maps)
    assert np.array_equal(first.image_scores, again.image_scores)


def test_whatever_changes_the_training_makes_a_new_one(detector: Counting, tmp_path: Path) -> None:
    masked = arm().defects[0]
    assert masked.mask is not None
    changes = [
        (arm(), PARAMS, 1),
        (arm(11), PARAMS, 0),
        (replace(arm(), normals=(normal(77),)), PARAMS, 0),
        (replace(arm(), defects=(replace(masked, mask=~masked.mask), *arm().defects[1:])), PARAMS, 0),
        (replace(arm(), defects=(replace(masked, origin="other"), *arm().defects[1:])), PARAMS, 0),
        (arm(), PARAMS.model_copy(update={"probe": ProbeParams(regularisation=2.0)}), 0),
    ]
    scored(detector, tmp_path, [arm()])
    for number, (changed, params, seed) in enumerate(changes, start=2):
        scored(detector, tmp_path, [changed], params, seed)
        assert detector.trainings == number


def test_what_is_measured_of_the_scores_makes_none(detector: Counting, tmp_path: Path) -> None:
    scored(detector, tmp_path, [arm()])
    scored(detector, tmp_path, [arm()], PARAMS.model_copy(update={"resamples": 7, "level": 0.9}))
    assert detector.trainings == 1


def test_a_torn_file_is_made_again(detector: Counting, tmp_path: Path) -> None:
    whole = scored(detector, tmp_path, [arm()])
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(scored(detector, tmp_path, [arm()]).maps, whole.maps)
    assert detector.trainings == 2


def test_a_defect_is_scored_by_the_part_that_has_not_seen_it(detector: Counting, tmp_path: Path) -> None:
    test = held_out()
    names = [example.example_id for example in test.examples if example.defective]
    parts = [
        replace(arm(2), unseen=frozenset(names[:1])),
        replace(arm(6), unseen=frozenset(names[1:])),
    ]
    found = scored(detector, tmp_path, parts)
    by_name = dict(zip([example.example_id for example in test.examples], found.image_scores, strict=True))
    assert by_name[names[0]] == pytest.approx(2 + 1 / 3, abs=1e-3)
    assert by_name[names[1]] == pytest.approx(6 + 1 / 3, abs=1e-3)
    normals = [by_name[example.example_id] for example in test.examples if not example.defective]
    assert normals == pytest.approx([4 + 1 / 3] * len(normals), abs=1e-3)


def test_the_test_set_is_part_of_what_is_kept(detector: Counting, tmp_path: Path) -> None:
    scored(detector, tmp_path, [arm()])
    other = TestSet((*held_out().examples, defective(7)))
    score_arm([arm()], other, ("probe", detector), PARAMS, 0, tmp_path, HOST, lambda what, done, total: None)
    assert detector.trainings == 2
