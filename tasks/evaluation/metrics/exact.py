"""The metrics of one test set, exact: every distinct score is a threshold.

In: scores, labels, maps and masks as arrays. Out: values by name, in [0, 1], higher is better. Pixel metrics pool the
pixels of all images, normal ones included. Slower than `histograms`, which agrees with it to 1e-3 and resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from tasks.contracts import DefectoryError
from tasks.evaluation.metrics import curves
from tasks.evaluation.metrics.instances import Instances, region_weights


def image_metrics(scores: NDArray[np.floating], defective: NDArray[np.bool_]) -> dict[str, float]:
    """Of image scores (n,) and labels (n,). Raises DefectoryError where all images are of one class."""
    return _ranking_metrics(scores, defective, "image")


def pixel_metrics(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> dict[str, float]:
    """Of maps and masks (n, height, width). Raises DefectoryError where no pixel, or every one, is of a defect."""
    values = _ranking_metrics(maps.ravel(), masks.ravel(), "pixel")
    instances = Instances.of(maps, masks).values(np.ones((1, len(maps))))
    return values | {"pro": _pro(maps, masks)} | {name: float(value[0]) for name, value in instances.items()}


def _ranking_metrics(scores: NDArray[np.floating], positive: NDArray[np.bool_], what: str) -> dict[str, float]:
    if positive.all() or not positive.any():
        raise DefectoryError(
            f"{what} metrics need defective and normal {what}s, got {int(positive.sum())} defective of {positive.size}"
            "; ask tasks.evaluation.metrics.available which metrics a test set allows"
        )
    precision, recall, _ = precision_recall_curve(positive, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return {
        f"{what}_auroc": float(roc_auc_score(positive, scores)),
        f"{what}_ap": float(average_precision_score(positive, scores)),
        f"{what}_f1_max": float(f1.max()),
    }


def _pro(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    order = np.argsort(-maps, axis=None)
    scores = maps.ravel()[order]
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    regions = np.stack([region_weights(mask) for mask in masks]).ravel()
    return float(
        curves.pro(
            np.add.reduceat(regions[order], starts)[None],
            np.add.reduceat((~masks).ravel()[order], starts, dtype=np.float64)[None],
        )[0]
    )
