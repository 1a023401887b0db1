"""What an evaluation leaves on disk: a report, its figures for programs, and a picture a category and detector.

In: evaluations. Out: files without a clock in them, so that the same evaluation has the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.evaluation.evaluate import Evaluation
from tasks.evaluation.metrics.arm_figures import Figures
from tasks.evaluation.metrics.intervals import Interval
from tasks.evaluation.tables import markdown
from tasks.files.atomic import write_atomic
from tasks.files.json_text import write_json
from tasks.params.detectors import EvaluateParams
from tasks.release.sheets import encode_sheet

EVALUATION_REPORT, EVALUATION_FIGURES = "report.md", "figures.json"


def write_outcome(
    folder: Path, title: str, made_by: str, evaluations: Sequence[Evaluation], params: EvaluateParams
) -> None:
    """Write `report.md`, `figures.json` and `maps-<category>-<detector>.png` into `folder`.

    `made_by` says what was evaluated, and how to do it again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = [f"# {title}\n", f"{made_by}\n"]
    for evaluation in evaluations:
        sections.append(markdown(evaluation, params))
        for detector, sheet in evaluation.maps.items():
            name = f"maps-{evaluation.category}-{detector}.png"
            write_atomic(folder / name, encode_sheet(sheet))
            sections.append(f"![What the {detector} sees in test photographs]({name})\n")
    write_atomic(folder / EVALUATION_REPORT, "\n".join(sections).encode())
    categories = {evaluation.category: _plain(evaluation) for evaluation in evaluations}
    content = {"made_by": made_by, "categories": categories}
    write_json(folder / EVALUATION_FIGURES, content)


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "test": {"normal": evaluation.test_normals, **evaluation.test_defects},
        "limitations": list(evaluation.limitations),
        "suspected_leaks": [leak.sentence for leak in evaluation.suspected],
        "confounds": [found.sentence for found in evaluation.confounds],
        "difficulty": {each.arm: each.sentence for each in evaluation.difficulties},
        "likeness": {
            each.arm: {each.names[0]: each.kid, each.names[1]: each.ic_lpips} for each in evaluation.likenesses
        },
        "figures": [_figures(each) for each in evaluation.figures],
        "type_accuracy": [
            {
                "arm": each.arm,
                "tier": each.tier,
                "network": each.network,
                "accuracy": _rounded(each.accuracy.tolist()),
                "balanced": _rounded(each.balanced.tolist()),
                "macro_f1": _rounded(each.macro_f1.tolist()),
            }
            for each in evaluation.accuracies
        ],
        "verdicts": [
            {
                "detector": each.detector,
                "metric": each.metric,
                "winner": each.winner,
                "grades": each.grades,
                "ahead": {f"{one.arm} of {one.other}": _interval(one.difference) for one in each.comparisons},
                "sentences": list(each.sentences),
            }
            for each in evaluation.verdicts
        ],
    }


def _figures(figures: Figures) -> dict[str, Any]:
    intervals = {metric: _interval(figures.of(metric)) for metric in figures.points}
    points = {metric: _rounded(values.tolist()) for metric, values in figures.points.items()}
    kept = {"arm": figures.arm, "role": figures.role, "detector": figures.detector, "defects": figures.defects}
    return {**kept, "by_seed": points, "intervals": intervals}


def _interval(interval: Interval) -> list[float]:
    """Value, low and high end."""
    return _rounded([interval.value, interval.low, interval.high])


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in values]
