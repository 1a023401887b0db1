"""An arm's figures: every metric of each seed, and of each seed under the same resamples of the test set.

In: scores by seed. Out: numbers with intervals, for one detector and arm. Two arms' figures may be compared where
both come from the same test set and the same resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.detectors.protocol import Role, Scored, TestSet
from tasks.evaluation.metrics.available import strata
from tasks.evaluation.metrics.histograms import ScoreHistograms
from tasks.evaluation.metrics.intervals import Interval, interval, paired_interval, resampling_weights
from tasks.params.detectors import EvaluateParams
from tasks.seeds import derive


@dataclass(frozen=True)
class Figures:
    """One arm's, by one detector."""

    arm: str
    role: Role
    detector: str
    defects: int
    """Defective images that it was trained on."""
    level: float
    points: Mapping[str, NDArray[np.float64]]
    """By metric, (seeds,)."""
    resampled: Mapping[str, NDArray[np.float64]]
    """By metric, (seeds, resamples)."""

    def of(self, metric: str) -> Interval:
        return interval(self.resampled[metric], self.points[metric], self.level)

    def ahead_of(self, other: Figures, metric: str) -> Interval:
        """The difference to another arm under the same resamples."""
        mine, theirs = self.resampled[metric], other.resampled[metric]
        return paired_interval(mine, theirs, self.points[metric], other.points[metric], self.level)

    def deviation(self, metric: str) -> float:
        """Over seeds; 0 for one."""
        return float(np.std(self.points[metric], ddof=1)) if len(self.points[metric]) > 1 else 0.0


def figures_of(
    arm: str,
    role: Role,
    detector: str,
    defects: int,
    by_seed: Sequence[Scored],
    test: TestSet,
    params: EvaluateParams,
) -> Figures:
    """The same resamples for every arm: they come from the test set's size alone."""
    weights = resampling_weights(strata(test), params.resamples, derive(0, "resamples"))
    ones = np.ones((1, len(test.examples)))
    rows = [ScoreHistograms.of(test, scored) for scored in by_seed]
    points, resampled = [row.values(ones) for row in rows], [row.values(weights) for row in rows]
    return Figures(
        arm,
        role,
        detector,
        defects,
        params.level,
        {name: np.array([values[name][0] for values in points]) for name in points[0]},
        {name: np.stack([values[name] for values in resampled]) for name in resampled[0]},
    )
