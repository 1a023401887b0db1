"""The verdict: whether a dataset is worth more than what is free, and who wins, only where the test images can tell.

In: figures of all arms by one detector, and what might have made a difference other than defects. Out: sentences. An
arm is ahead of another where the whole interval of their paired difference is above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.evaluation.metrics.arm_figures import Figures
from tasks.evaluation.metrics.intervals import Interval

_BY_IMAGE = "image_auroc"

HEADLINES = ("pixel_ap", _BY_IMAGE)
"""The metric that decides: the first that the test set allows."""

Grade = Literal["good", "no evidence", "behind", "not judged"]


@dataclass(frozen=True)
class Comparison:
    arm: str
    other: str
    metric: str
    difference: Interval

    @property
    def ahead(self) -> bool:
        return self.difference.low > 0

    @property
    def behind(self) -> bool:
        return self.difference.high < 0


@dataclass(frozen=True)
class DetectorVerdict:
    detector: str
    metric: str
    winner: str
    """The arm that is ahead of every other one but the ceiling; empty where none is."""
    grades: dict[str, Grade]
    """Of the arms under test, by name."""
    comparisons: tuple[Comparison, ...]
    """Of each arm under test with every other arm."""
    sentences: tuple[str, ...]


def judge_arms(figures: Sequence[Figures], forbidden: Sequence[str] = ()) -> DetectorVerdict | None:
    """The verdict of one detector on one category; None where there is no figure to judge by.

    `forbidden` are the reasons why no winner may be called: train and test images that differ by something other than
    defects, for example. The grade follows the interval against each baseline: `good` where it is ahead of all of
    them and not behind the floor by image AUROC, `behind` where it is behind one that is ahead of it, else
    `no evidence`.
    """
    metric = next((name for name in HEADLINES if figures and name in figures[0].points), None)
    if metric is None:
        return None
    ours = [each for each in figures if each.role == "ours"]
    comparisons = tuple(_compare(each, other, metric) for each in ours for other in figures if other is not each)
    rivals = [each for each in figures if each.role in ("ours", "single", "baseline", "real", "floor")]
    winner = "" if forbidden else _winner(rivals, metric)
    grades: dict[str, Grade] = {
        each.arm: "not judged" if forbidden else _grade(each, figures, comparisons) for each in ours
    }
    sentences = (*_who_wins(rivals, winner, metric, forbidden), *_control(figures, metric), *_floor(ours, figures))
    return DetectorVerdict(figures[0].detector, metric, winner, grades, comparisons, sentences)


def _compare(arm: Figures, other: Figures, metric: str) -> Comparison:
    return Comparison(arm.arm, other.arm, metric, arm.ahead_of(other, metric))


def _winner(rivals: Sequence[Figures], metric: str) -> str:
    for arm in rivals:
        if len(rivals) > 1 and all(arm.ahead_of(other, metric).low > 0 for other in rivals if other is not arm):
            return arm.arm
    return ""


def _grade(arm: Figures, figures: Sequence[Figures], comparisons: Sequence[Comparison]) -> Grade:
    baselines = {each.arm for each in figures if each.role == "baseline"}
    free = [each for each in comparisons if each.arm == arm.arm and each.other in baselines]
    if _floors_above(arm, figures) or any(each.behind for each in free):
        return "behind"
    return "good" if free and all(each.ahead for each in free) else "no evidence"


def _floors_above(arm: Figures, figures: Sequence[Figures]) -> list[Figures]:
    """The floors that tell defective images from normal ones better than the arm."""
    floors = [each for each in figures if each.role == "floor" and _BY_IMAGE in each.points]
    return [floor for floor in floors if arm.ahead_of(floor, _BY_IMAGE).high < 0]


def _floor(ours: Sequence[Figures], figures: Sequence[Figures]) -> tuple[str, ...]:
    """Why an arm may be graded `behind` though no baseline is ahead of it."""
    return tuple(
        f"{floor.arm}, which learned from no defect, has the better image auroc: {floor.of(_BY_IMAGE).value:.1%} "
        f"against {arm.of(_BY_IMAGE).value:.1%} of {arm.arm}."
        for arm in ours
        for floor in _floors_above(arm, figures)
    )


def _who_wins(rivals: Sequence[Figures], winner: str, metric: str, forbidden: Sequence[str]) -> tuple[str, ...]:
    if forbidden:
        return ("No winner is called: " + "; ".join(forbidden) + ".",)
    best = max(rivals, key=lambda arm: arm.of(metric).value)
    named = metric.replace("_", " ")
    if winner:
        return (f"{winner} wins: its {named} is above that of every other arm, by intervals that do not hold 0.",)
    close = [arm.arm for arm in rivals if arm is not best and best.ahead_of(arm, metric).low <= 0]
    return (f"{best.arm} has the highest {named}, but these test images cannot tell it from {', '.join(close)}.",)


def _control(figures: Sequence[Figures], metric: str) -> tuple[str, ...]:
    controls = [each for each in figures if each.role == "control"]
    ours = next((each for each in figures if each.role == "ours"), None)
    return tuple(
        f"The control, {each.arm}, does no worse than {ours.arm}: something other than the masks tells defects apart."
        for each in controls
        if ours is not None and each.ahead_of(ours, metric).high >= 0
    )
