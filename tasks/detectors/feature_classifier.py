"""Tier 1's classifier: which type a defect is, by logistic regression on frozen features.

In: an arm's defects with masks. Out: the type of each test defect. What is told apart is the mean feature of the cells
under the mask, of the whole image where there is no mask, alike in training and test. The problem is convex and all
defects are trained on, so the seed changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tasks.contracts import DefectoryError
from tasks.detectors.features import pooled
from tasks.detectors.protocol import Arm, Example
from tasks.params.detectors import EvaluateParams

_ROUNDS = 1000
"""Of the optimiser, at most."""


@dataclass(frozen=True)
class Model:
    pipeline: Pipeline
    device: torch.device
    """Where features are computed."""


def fit(arm: Arm, params: EvaluateParams, seed: int, device: torch.device) -> Model:
    """Train on the arm's defects; types weigh the same. Raises DefectoryError for fewer than two types."""
    types = [example.defect_type for example in arm.defects]
    if len(set(types)) < 2:
        raise DefectoryError(
            f"arm {arm.name}: types are told apart where there are two or more, got {sorted(set(types))}"
        )
    regression = LogisticRegression(C=params.probe.regularisation, max_iter=_ROUNDS)
    pipeline = Pipeline([("scale", StandardScaler()), ("regression", regression)])
    pipeline.fit(_rows(arm.defects, device), types, regression__sample_weight=type_weights(arm.defects))
    return Model(pipeline, device)


def predict(model: Model, examples: Sequence[Example]) -> list[str]:
    """The most likely type of each example, one of those trained on."""
    return [str(found) for found in model.pipeline.predict(_rows(examples, model.device))]


def type_weights(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Weights of mean 1: types weigh the same, and so do the origins of one type's examples."""
    kinds = [(example.defect_type, example.origin) for example in examples]
    counts = Counter(kinds)
    origins = Counter(defect_type for defect_type, _ in counts)
    return np.array([len(kinds) / (len(origins) * origins[kind[0]] * counts[kind]) for kind in kinds])


def _rows(examples: Sequence[Example], device: torch.device) -> NDArray[np.float32]:
    return np.stack([pooled(example.image, example.mask, device) for example in examples])
