"""One category's evaluation: every arm by every detector of the tiers asked for, and the verdicts.

In: photographs and synthetic examples. Out: `Evaluation`, all that the report says. Trainings are kept in a folder, so
an evaluation that was stopped goes on, and one that is changed in its bootstrap alone trains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import PIL.Image
import torch

from tasks.detectors import localiser, memory_bank, probe
from tasks.detectors.protocol import Arm, Detector, Scored, SyntheticSet, TestSet
from tasks.evaluation.arms import arms_of
from tasks.evaluation.confounds import Confound, find_confounds
from tasks.evaluation.difficulty import Difficulty, difficulties_of
from tasks.evaluation.examples import Photographs
from tasks.evaluation.leaks import Leak
from tasks.evaluation.likeness import Likeness, likenesses_of
from tasks.evaluation.map_sheet import draw_maps
from tasks.evaluation.metrics.arm_figures import Figures, figures_of
from tasks.evaluation.metrics.available import available
from tasks.evaluation.scoring import score_arm
from tasks.evaluation.type_accuracy import TypeAccuracy, accuracies_of
from tasks.evaluation.verdict import DetectorVerdict, judge_arms
from tasks.params.detectors import DetectorParams, EvaluateParams
from tasks.progress import Report

FLOOR = "memory_bank"
TRAINED: dict[int, tuple[str, Detector]] = {1: ("probe", probe), 2: ("localiser", localiser)}
"""The detectors that train on defects, by tier."""
_ROWS = 10
"""Test photographs in a picture of maps."""


@dataclass(frozen=True)
class Evaluation:
    category: str
    test_normals: int
    test_defects: dict[str, int]
    """By defect type."""
    metrics: tuple[str, ...]
    limitations: tuple[str, ...]
    """Why other metrics are missing."""
    suspected: tuple[Leak, ...]
    """What the training may have seen of the test images, without any proof."""
    confounds: tuple[Confound, ...]
    difficulties: tuple[Difficulty, ...]
    """Of the synthetic arms; empty without tier 0, as the next is."""
    likenesses: tuple[Likeness, ...]
    figures: tuple[Figures, ...]
    accuracies: tuple[TypeAccuracy, ...]
    verdicts: tuple[DetectorVerdict, ...]
    """One a detector."""
    maps: dict[str, PIL.Image.Image]
    """By detector, what it sees in some test photographs."""


def evaluate_category(
    category: str,
    photographs: Photographs,
    synthetic: Sequence[SyntheticSet],
    suspected: Sequence[Leak],
    params: EvaluateParams,
    folder: Path,
    device: torch.device,
    report: Report,
) -> Evaluation:
    """Evaluate synthetic examples against one another and the real ones; `folder` keeps the detectors' scores.

    `suspected` is what `leaks.refuse_leaks` has let pass.
    """
    arms, test = arms_of(photographs, synthetic), photographs.test
    metrics, limitations = available(test)
    confounds = tuple(find_confounds(arms, test))
    reasons = [found.sentence for found in confounds if found.refuses]
    trained = [TRAINED[tier] for tier in sorted(set(params.tiers) & set(TRAINED)) if metrics]
    results = {
        name: list(_results(arms, (name, module), test, params, folder, device, report)) for name, module in trained
    }
    verdicts = [judge_arms([result.figures for result in found], reasons) for found in results.values()]
    made = [arm for arm in arms if arm.role in ("ours", "single", "baseline")]
    return Evaluation(
        category,
        int((~test.defective).sum()),
        dict(Counter(example.defect_type for example in test.examples if example.defective)),
        metrics,
        limitations,
        tuple(leak for leak in suspected if leak.test_id in {example.example_id for example in test.examples}),
        confounds,
        tuple(difficulties_of(made, photographs, params, device, report)) if 0 in params.tiers else (),
        tuple(likenesses_of(made, photographs.defects, device)) if 0 in params.tiers else (),
        tuple(result.figures for found in results.values() for result in found),
        tuple(accuracies_of(arms, test, params, device, report)),
        tuple(verdict for verdict in verdicts if verdict),
        {name: _sheet(category, name, test, found) for name, found in results.items()},
    )


@dataclass(frozen=True)
class _Result:
    figures: Figures
    scored: Scored
    """By the first seed."""


def _results(
    arms: Sequence[Arm],
    trained: tuple[str, Detector],
    test: TestSet,
    params: EvaluateParams,
    folder: Path,
    device: torch.device,
    report: Report,
) -> Iterator[_Result]:
    """Of each arm wanted, by the detector of its kind: without defects there is nothing to train on."""
    own: DetectorParams = getattr(params, trained[0])
    for name, group in groupby(arms, key=lambda arm: arm.name):
        if not own.takes(name):
            continue
        parts = list(group)
        detector = trained if parts[0].defects else (FLOOR, memory_bank)
        scored = [
            score_arm(parts, test, detector, params, seed, folder, device, report) for seed in range(params.seeds)
        ]
        defects = max(len(part.defects) for part in parts)
        yield _Result(figures_of(name, parts[0].role, detector[0], defects, scored, test, params), scored[0])


def _sheet(category: str, detector: str, test: TestSet, results: Sequence[_Result]) -> PIL.Image.Image:
    title = f"{category}: test photographs as the {detector} sees them, trained on each arm"
    return draw_maps(title, test.examples, {result.figures.arm: result.scored for result in results}, _ROWS)
