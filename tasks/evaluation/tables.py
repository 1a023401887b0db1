"""An evaluation as Markdown: who is ahead of whom, by how much, and what these test images cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tasks.evaluation.confounds import Confound
from tasks.evaluation.evaluate import Evaluation
from tasks.evaluation.leaks import Leak
from tasks.evaluation.likeness import Likeness
from tasks.evaluation.metrics.arm_figures import Figures
from tasks.evaluation.metrics.available import IMAGE_METRICS, PIXEL_METRICS
from tasks.evaluation.metrics.intervals import Interval
from tasks.evaluation.type_accuracy import TypeAccuracy
from tasks.evaluation.verdict import DetectorVerdict
from tasks.params.detectors import EvaluateParams

NAMES = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1 (oracle)",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1_max": "P-F1 (oracle)",
    "pro": "PRO (FPR .3)",
    "iap": "IAP",
    "iap90": "IAP90",
}
DETECTORS = {
    "probe": "Tier 1: linear probe on frozen EfficientNet-Lite0 features (a proxy)",
    "localiser": "Tier 2: DRAEM's segmentation U-Net, trained from scratch",
}
_MISSING = "–"
_NAMED = 5
"""Suspected leaks that a report lists."""


def markdown(evaluation: Evaluation, params: EvaluateParams) -> str:
    """The section of one category."""
    parts = [f"## {evaluation.category}", _test_set(evaluation, params)]
    parts += list(evaluation.limitations)
    parts += ["\n".join(_suspected(evaluation.suspected))]
    parts += ["\n".join(_confounds(evaluation.confounds))]
    for verdict in evaluation.verdicts:
        figures = [each for each in evaluation.figures if each.detector == verdict.detector or each.role == "floor"]
        parts += _detector(verdict, _once(figures))
    for tier in sorted({each.tier for each in evaluation.accuracies}):
        parts += _accuracies([each for each in evaluation.accuracies if each.tier == tier])
    if evaluation.difficulties:
        parts.append("### Tier 0: validity and difficulty")
        parts.append("\n".join(f"- {each.sentence}" for each in evaluation.difficulties))
    if evaluation.likenesses:
        parts.append(_likenesses(evaluation.likenesses))
    return "\n\n".join(part for part in parts if part) + "\n"


def _test_set(evaluation: Evaluation, params: EvaluateParams) -> str:
    types = ", ".join(f"{count} {name}" for name, count in sorted(evaluation.test_defects.items()))
    return (
        f"Tested on {evaluation.test_normals} normal and {sum(evaluation.test_defects.values())} defective "
        f"photographs ({types or 'none'}) that no generator has seen, at {params.image_size} px. Means of "
        f"{params.seeds} trainings, their last state; in brackets the {params.level:.0%} interval over test images."
    )


def _suspected(leaks: Sequence[Leak]) -> Iterator[str]:
    yield from (f"- Suspected: {leak.sentence}" for leak in leaks[:_NAMED])
    if len(leaks) > _NAMED:
        yield f"- and {len(leaks) - _NAMED} more such pairs, all in `figures.json`"


def _confounds(found: Sequence[Confound]) -> Iterator[str]:
    """A line a pair of sets."""
    for (first, second), group in groupby(found, key=lambda each: (each.first, each.second)):
        statistics = ", ".join(f"{each.statistic} ({each.auroc:.2f})" for each in group)
        yield f"- {first} and {second} can be told apart without looking at the masks, by (AUROC) {statistics}"


def _detector(verdict: DetectorVerdict, figures: Sequence[Figures]) -> Iterator[str]:
    metrics = [name for name in (*IMAGE_METRICS, *PIXEL_METRICS) if name in figures[0].points]
    headline = verdict.metric
    others = [name for name in metrics if name != headline]
    ours = [each for each in figures if each.role == "ours"]
    head = ["arm", "defects", f"{NAMES[headline]}, %", "sd of seeds"]
    head += [f"ahead of it: {each.arm}" for each in ours] + [f"{NAMES[name]}, %" for name in others]
    rows = [_row(each, ours, headline, others) for each in sorted(figures, key=lambda f: -f.of(headline).value)]
    yield f"### {DETECTORS.get(verdict.detector, verdict.detector)}"
    yield "\n".join(_table(head, rows))
    yield " ".join(verdict.sentences)
    yield " ".join(f"Grade of {name}: **{grade}**." for name, grade in verdict.grades.items())


def _row(figures: Figures, ours: Sequence[Figures], headline: str, others: Sequence[str]) -> list[str]:
    differences = [_MISSING if each is figures else _signed(each.ahead_of(figures, headline)) for each in ours]
    return [
        figures.arm,
        str(figures.defects or _MISSING),
        _bracketed(figures.of(headline)),
        f"{100 * figures.deviation(headline):.1f}",
        *differences,
        *(f"{100 * figures.of(name).value:.1f}" for name in others),
    ]


def _accuracies(accuracies: Sequence[TypeAccuracy]) -> Iterator[str]:
    how = "logistic regression on frozen features" if accuracies[0].tier == 1 else "fine-tuned"
    yield f"### Tier {accuracies[0].tier}: types told apart by {accuracies[0].network}, {how}"
    rows = [
        [each.arm, *(f"{100 * values.mean():.1f}" for values in (each.accuracy, each.balanced, each.macro_f1))]
        for each in sorted(accuracies, key=lambda each: -each.accuracy.mean())
    ]
    yield "\n".join(_table(["arm", "accuracy, %", "balanced, %", "macro F1, %"], rows))


def _likenesses(likenesses: Sequence[Likeness]) -> str:
    kid, diversity = likenesses[0].names
    rows = [
        [
            each.arm,
            _MISSING if each.kid is None else f"{1000 * each.kid[0]:.1f} (sd {1000 * each.kid[1]:.1f})",
            _MISSING if each.ic_lpips is None else f"{each.ic_lpips:.3f}",
        ]
        for each in likenesses
    ]
    return "\n".join(_table(["arm", f"{kid} to the real train defects, x 1000", diversity], rows))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bracketed(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _signed(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _once(figures: Sequence[Figures]) -> list[Figures]:
    """The floor is the same in every tier."""
    return list({each.arm: each for each in figures}.values())
