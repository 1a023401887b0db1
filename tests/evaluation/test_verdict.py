"""A verdict says no more than the test images can tell."""

from __future__ import annotations

import numpy as np

from tasks.detectors.protocol import Role
from tasks.evaluation.metrics.arm_figures import Figures
from tasks.evaluation.verdict import DetectorVerdict, judge_arms

RESAMPLES = np.random.default_rng(0).normal(scale=0.02, size=400)
"""What the choice of test images does to every arm alike."""


def figures(arm: str, role: Role, value: float, own_noise: float = 0.0, image_auroc: float = 0.9) -> Figures:
    """An arm at `value`; `own_noise` is the part of its uncertainty that it does not share with the others."""
    own = np.random.default_rng(len(arm)).normal(scale=own_noise, size=400) if own_noise else 0.0
    points = {"pixel_ap": np.array([value]), "image_auroc": np.array([image_auroc])}
    resampled = {"pixel_ap": (value + RESAMPLES + own)[None], "image_auroc": (image_auroc + RESAMPLES / 10)[None]}
    return Figures(arm, role, "probe", 10, 0.95, points, resampled)


def verdict(*arms: Figures, forbidden: tuple[str, ...] = ()) -> DetectorVerdict:
    found = judge_arms(arms, forbidden)
    assert found is not None
    return found


OURS = figures("ours", "ours", 0.80)
PASTE = figures("paste", "baseline", 0.78)


def test_a_small_lead_counts_where_the_test_images_are_the_same() -> None:
    found = verdict(OURS, PASTE)
    assert found.winner == "ours"
    assert found.grades == {"ours": "good"}
    own = OURS.of("pixel_ap")
    assert own.high - own.low > 0.02, "two separate intervals would not have told them apart"


def test_a_lead_within_the_noise_is_no_win() -> None:
    found = verdict(OURS, figures("paste", "baseline", 0.79, own_noise=0.02))
    assert found.winner == ""
    assert found.grades == {"ours": "no evidence"}
    assert "cannot tell it from paste" in found.sentences[0]


def test_whoever_is_beaten_by_what_is_free_is_behind() -> None:
    found = verdict(figures("ours", "ours", 0.70), PASTE)
    assert found.winner == "paste"
    assert found.grades == {"ours": "behind"}


def test_below_the_floor_is_behind_whatever_the_pixels_say() -> None:
    floor = figures("normals only", "floor", 0.3, image_auroc=0.99)
    found = verdict(OURS, PASTE, floor)
    assert found.grades == {"ours": "behind"}
    assert "normals only" in found.sentences[-1], "a grade without its reason"
    assert "99.0% against 90.0% of ours" in found.sentences[-1]
    level = figures("normals only", "floor", 0.3, image_auroc=0.9)
    assert len(verdict(OURS, PASTE, level).sentences) == 1


def test_nobody_wins_who_is_not_ahead_of_the_floor() -> None:
    found = verdict(OURS, PASTE, figures("normals only", "floor", 0.81))
    assert found.winner == "normals only"
    found = verdict(OURS, PASTE, figures("normals only", "floor", 0.80, own_noise=0.02))
    assert found.winner == ""


def test_the_ceiling_is_no_rival() -> None:
    assert verdict(OURS, PASTE, figures("all real", "ceiling", 0.95)).winner == "ours"


def test_a_confound_forbids_a_winner() -> None:
    found = verdict(OURS, PASTE, forbidden=("training images are darker",))
    assert found.winner == ""
    assert found.grades == {"ours": "not judged"}
    assert found.sentences[0] == "No winner is called: training images are darker."


def test_a_control_as_good_as_the_dataset_is_named() -> None:
    found = verdict(OURS, PASTE, figures("shuffled masks", "control", 0.80))
    assert "shuffled masks, does no worse than ours" in found.sentences[-1]
    assert len(verdict(OURS, PASTE, figures("shuffled masks", "control", 0.3)).sentences) == 1


def test_without_a_headline_there_is_no_verdict() -> None:
    bare = Figures("ours", "ours", "probe", 1, 0.95, {}, {})
    assert judge_arms([bare]) is None
