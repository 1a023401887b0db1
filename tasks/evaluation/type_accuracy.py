"""How well defect types are told apart by a classifier that was trained on an arm alone.

In: arms and the test set's defects. Out: accuracies by arm, of as many trainings as there are seeds. A defect of a type
that the arm does not have counts as told wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from tasks.detectors import classifier, feature_classifier
from tasks.detectors.protocol import Arm, Example, TestSet
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report


@dataclass(frozen=True)
class TypeAccuracy:
    arm: str
    tier: int
    network: str
    accuracy: NDArray[np.float64]
    """(seeds,); as are the next two."""
    balanced: NDArray[np.float64]
    macro_f1: NDArray[np.float64]


def accuracies_of(
    arms: Sequence[Arm], test: TestSet, params: EvaluateParams, device: torch.device, report: Report
) -> Iterator[TypeAccuracy]:
    """Of every arm with two defect types or more that has seen no test image, by the tiers asked for."""
    tested = [example for example in test.examples if example.defective]
    if len({example.defect_type for example in tested}) < 2:
        return
    for tier in sorted({1, 2} & set(params.tiers)):
        for arm in arms:
            if tier == 2 and not params.classifier.takes(arm.name):
                continue
            if len({example.defect_type for example in arm.defects}) > 1 and arm.unseen is None:
                yield _accuracy(arm, tier, tested, params, device, report)


def _accuracy(
    arm: Arm, tier: int, tested: Sequence[Example], params: EvaluateParams, device: torch.device, report: Report
) -> TypeAccuracy:
    true = [example.defect_type for example in tested]
    rows = []
    for seed in range(params.seeds):
        found = _predicted(arm, tier, tested, params, seed, device, report)
        labels = sorted(set(true))
        macro = f1_score(true, found, average="macro", labels=labels, zero_division=0.0)
        rows.append((accuracy_score(true, found), balanced_accuracy_score(true, found), macro))
    accuracy, balanced, macro_f1 = np.array(rows, dtype=np.float64).T
    return TypeAccuracy(arm.name, tier, classifier.CLASSIFIER_NETWORK, accuracy, balanced, macro_f1)


def _predicted(
    arm: Arm,
    tier: int,
    tested: Sequence[Example],
    params: EvaluateParams,
    seed: int,
    device: torch.device,
    report: Report,
) -> list[str]:
    if tier == 1:
        return feature_classifier.predict(feature_classifier.fit(arm, params, seed, device), tested)
    model = classifier.fit(arm, params, seed, device, report)
    return classifier.predict(model, [example.image for example in tested])
