"""The Inception score of images that never lie in memory together.

In: blocks of logits, in the order of the images. Out: the score. What is kept is one sum of probabilities a split and
class, for KL(p(y|x) || p(y)) averaged over images is the mean of sum p(y|x) log p(y|x) less sum p(y) log p(y), and both
are made of sums. It brings no torch, which a release does without. A score carries its network's name (`score_name`)
and is never set beside a score of another network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tasks.contracts import DefectoryError
from tasks.seeds import numpy_generator

_BLOCK = 1024
"""Images whose probabilities are held at once."""


@dataclass(frozen=True)
class Predictions:
    """What the network says of n images."""

    probabilities: NDArray[np.float64]
    """(n, classes), the softmax of the logits."""
    negative_entropies: NDArray[np.float64]
    """(n,): sum p log p, in nats."""


def predictions_of(logits: NDArray) -> Predictions:
    """Probabilities and negative entropies of logits (n, classes), in double precision."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    totals = weights.sum(axis=1)
    weighted = np.einsum("nc,nc->n", weights, shifted)
    return Predictions(weights / totals[:, None], weighted / totals - np.log(totals))


class InceptionScore:
    """Takes the images of one score block by block; its memory is splits times classes."""

    def __init__(self, images: int, splits: int, seed: int) -> None:
        """`images` in all, dealt to the splits by a permutation drawn from `seed`: who is in a split does not depend
        on the blocks. Raises DefectoryError when there are fewer images than splits.
        """
        if not 1 <= splits <= images:
            raise DefectoryError(
                f"the Inception score wants at least one image a split and got {images} images for {splits} splits; "
                "ask for fewer splits or score more images"
            )
        bounds = np.array([number * images // splits for number in range(splits + 1)])
        self._sizes = np.diff(bounds)
        self._split_of = np.empty(images, dtype=np.int64)
        self._split_of[numpy_generator(seed).permutation(images)] = np.repeat(np.arange(splits), self._sizes)
        self._entropies = np.zeros(splits)
        self._probabilities: NDArray[np.float64] | None = None
        self._taken = 0

    @property
    def splits(self) -> int:
        return len(self._sizes)

    def add(self, predictions: Predictions) -> None:
        """Take the next images."""
        found = predictions.probabilities
        splits = self._split_of[self._taken : self._taken + len(found)]
        self._taken += len(found)
        if self._taken > len(self._split_of):
            raise DefectoryError(f"the Inception score of {len(self._split_of)} images was given {self._taken}")
        if self._probabilities is None:
            self._probabilities = np.zeros((self.splits, found.shape[1]))
        membership = (splits == np.arange(self.splits)[:, None]).astype(np.float64)
        self._probabilities += membership @ found
        self._entropies += membership @ predictions.negative_entropies

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over the splits. Raises DefectoryError before all images were given."""
        if self._taken < len(self._split_of) or self._probabilities is None:
            raise DefectoryError(f"the Inception score of {len(self._split_of)} images was given {self._taken}")
        marginals = self._probabilities / self._sizes[:, None]
        scores = np.exp(self._entropies / self._sizes - xlogy(marginals, marginals).sum(axis=1))
        return float(scores.mean()), float(scores.std())


def score_name(classifier: str) -> str:
    """The name that an Inception score of this network goes by: `is_efficientnet_lite0` or `is_inception_v3`."""
    return f"is_{classifier}"


def inception_score(logits: NDArray, splits: int, seed: int) -> tuple[float, float]:
    """Mean and standard deviation over the splits of the Inception score (Salimans et al. 2016).

    The score of a split is exp(mean over its images of KL(p(y|x) || p(y))), from 1 to the number of classes; p(y) is
    the split's mean. `logits` is (n, classes) and is dealt to the splits by a permutation drawn from `seed`.

    Raises DefectoryError when there are fewer images than splits.
    """
    score = InceptionScore(len(logits), splits, seed)
    for start in range(0, len(logits), _BLOCK):
        score.add(predictions_of(logits[start : start + _BLOCK]))
    return score.result()
