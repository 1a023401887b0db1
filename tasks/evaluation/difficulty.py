"""Tier 0: are synthetic defects valid, and as hard to see as the real ones that are to be found?

In: synthetic arms and the train split's photographs; test images play no part. Out: a sentence an arm, and its figures.
The yardstick is a memory bank of normal images. A defect that it sees at once teaches little where real ones are faint,
and one that it cannot see at all may be no defect. Normal images are scored by a bank that does not hold them.

A synthetic image is, outside of its mask, the photograph it was painted on. Where the bank holds that one, the image
looks more familiar than a real defect's ever does, so only those painted on held-out photographs are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from tasks.contracts import DefectoryError
from tasks.detectors import memory_bank
from tasks.detectors.protocol import Arm, Example
from tasks.evaluation.examples import Photographs
from tasks.evaluation.parents import nearest_normals
from tasks.evaluation.validity import Validity, validity_of
from tasks.inputs.checks import auroc
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report

_HELD_OUT = 5
"""One normal image in so many is scored and not remembered."""
_FEWEST = 5
"""Synthetic defects from which on anything is said of their difficulty."""
_CLEARLY = 2 / 3
"""The share of pairs in which one kind of defect must score higher to be called easier."""

ImageScores = NDArray[np.float64]
"""(n,), of images."""


@dataclass(frozen=True)
class Match:
    """Synthetic defects beside real ones."""

    real_auroc: float
    """Of the real defects against held-out normal images."""
    easier: float
    """The share of pairs of a synthetic and a real defect in which the synthetic scores higher."""
    kolmogorov_smirnov: float
    """The largest difference of the two distributions, 0 to 1."""
    p_value: float
    wasserstein: float
    """Between the two distributions, in standard deviations of normal images' scores."""


@dataclass(frozen=True)
class Difficulty:
    arm: str
    validity: Validity
    compared: int
    """Its defects that were painted on a held-out photograph."""
    synthetic_auroc: float | None
    """Of these against held-out normal images, 0.5 where they cannot be told apart; None for fewer than five."""
    match: Match | None
    """None without a synthetic AUROC, and without real defects."""

    @property
    def sentence(self) -> str:
        """All of it in plain words."""
        valid = f"{self.arm}: {self.validity.sentence}"
        if self.synthetic_auroc is None:
            return f"{valid}; difficulty unknown: {self.compared} are painted on held-out photographs, of {_FEWEST}"
        seen = f"{valid}; AUROC of the memory bank {self.synthetic_auroc:.2f} on {self.compared} of them"
        if self.match is None:
            return f"{seen}; no real defect in the train split to compare with"
        match = self.match
        return (
            f"{seen}, on real defects {match.real_auroc:.2f}: {_verdict(match.easier)}, easier than a real one in "
            f"{match.easier:.0%} of pairs (KS {match.kolmogorov_smirnov:.2f}, p {match.p_value:.2g}; Wasserstein "
            f"{match.wasserstein:.1f} sd)"
        )


def _verdict(easier: float) -> str:
    if 1 - _CLEARLY <= easier <= _CLEARLY:
        return "matched"
    return "too easy" if easier > _CLEARLY else "too hard"


def difficulties_of(
    arms: Sequence[Arm], photographs: Photographs, params: EvaluateParams, device: torch.device, report: Report
) -> Iterator[Difficulty]:
    """Of each arm, by one memory bank. Raises DefectoryError for fewer than three normal images."""
    remembered, held_out = hold_out(photographs.normals)
    bank = memory_bank.fit(Arm("difficulty", "floor", remembered, ()), params, 0, device, report)
    normal, real = _scores(bank, held_out), _scores(bank, photographs.defects)
    unknown = {example.example_id for example in held_out}
    for arm in arms:
        parents = nearest_normals(arm.defects, photographs.normals)
        fair = [defect for defect, parent in zip(arm.defects, parents, strict=True) if parent in unknown]
        synthetic = _scores(bank, fair)
        yield Difficulty(
            arm.name,
            validity_of(arm.defects),
            len(fair),
            auroc(normal, synthetic) if len(fair) >= _FEWEST else None,
            match_of(synthetic, real, normal) if len(fair) >= _FEWEST and len(real) else None,
        )


def hold_out(normals: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The normal images to remember and, by hash, the fifth of them to score, each in the order given."""
    if len(normals) < 3:
        raise DefectoryError(f"{len(normals)} normal images of the train split; difficulty is measured from 3 on")
    ranked = sorted(normals, key=lambda example: hashlib.sha256(example.example_id.encode()).digest())
    held_out = {example.example_id for example in ranked[: max(2, len(normals) // _HELD_OUT)]}
    return (
        tuple(example for example in normals if example.example_id not in held_out),
        tuple(example for example in normals if example.example_id in held_out),
    )


def _scores(bank: memory_bank.MemoryBank, examples: Sequence[Example]) -> ImageScores:
    scores = [memory_bank.score(bank, [example.image]).image_scores[0] for example in examples]
    return np.array(scores, dtype=np.float64)


def match_of(synthetic: ImageScores, real: ImageScores, normal: ImageScores) -> Match:
    test = ks_2samp(synthetic, real)
    return Match(
        auroc(normal, real),
        auroc(real, synthetic),
        float(test.statistic),
        float(test.pvalue),
        float(wasserstein_distance(synthetic, real) / max(normal.std(), 1e-9)),
    )
