"""Which photographs hold a piece of another: a cropped, pasted, enlarged, turned or mirrored copy of a part of it.

In: tested and trained images of one category. Out: the pairs that share a piece. Why not the small descriptors of
duplicates: a piece has other descriptors than its whole.

Local features (Lowe 2004) of a tested image each vote for the trained image that has the most similar one of all.
Different photographs of one product share its outline, so their votes scatter over the category; a copied piece
takes all of its votes. Votes count only where one similarity transform explains them, by quarter turns as copies
are turned, and where the pictures agree pixel by pixel between the voting points, in more than all images of the
category have there: a busbar that is moved along itself lies on a busbar in any photograph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter
from skimage.feature import SIFT
from skimage.measure import ransac
from skimage.transform import SimilarityTransform, warp

from tasks.contracts import Image
from tasks.progress import Report, silent

_SIDE = 128
"""Pixels a side at which pieces are looked for."""
_CONTRASTS = (0.02, 0.005)
"""Of a feature; the lower one only for a faint surface, which has fewer than `_ENOUGH` of the higher."""
_ENOUGH = 40
_ALIKE = 0.9
"""Cosine of two features' descriptors from which one votes for the other."""
_LEAST_VOTES = 5
"""Explained by one transform."""
_AGREEMENT = 0.93
"""Correlation of the two pictures' details between the voting points."""
_SURE_VOTES = 20
"""Need no agreement: a copy that was painted over agrees nowhere near its paint."""
_WITHIN = 1.5
"""Pixels to which a transform explains a vote."""
_OFF_QUARTER = 5.0
"""Degrees from a quarter turn at most."""
_ZOOM = 5.0
_POSE = 0.06
"""Of the side and of the zoom, by which products in one pose differ."""
_COARSE = 6.0
"""Pixels of the blur that is taken out before correlating: shading is no detail."""
_BLOCK = 64
"""Features compared with all at once: bounds the memory."""

_Grey = NDArray[np.float32]


@dataclass(frozen=True)
class SharedPiece:
    """A piece of picture that a tested and a trained image have in common."""

    tested: int
    trained: int
    """Positions in what was given."""
    votes: int
    zoom: float
    """Pixels of the trained image to one of the tested image."""
    agreement: float
    """Correlation in [-1, 1] of the details."""
    in_pose: bool
    """Whether the frame stays where it is, as in two photographs of like parts: then nothing was cut out."""


@dataclass(frozen=True)
class _Features:
    points: NDArray[np.float64]
    """(n, 2), column and row."""
    descriptors: NDArray[np.float32]
    """(n, 128), of length 1."""
    owners: NDArray[np.intp]
    """(n,), position of each feature's image."""


@dataclass(frozen=True)
class _Sum:
    """Of pictures of one category."""

    total: _Grey
    count: int

    def without(self, grey: _Grey) -> _Sum:
        return _Sum(self.total - grey, self.count - 1)

    @property
    def mean(self) -> _Grey:
        """All 0 where none is left."""
        return np.asarray(self.total / max(self.count, 1), dtype=np.float32)


def shared_pieces(tested: Sequence[Image], trained: Sequence[Image], report: Report = silent) -> Iterator[SharedPiece]:
    """Pairs of a tested and a trained image, of any size, that share a piece; the best of both mirrorings.

    Pieces are found from about a tenth of an image's area on and enlarged up to three times; a piece without
    texture has no features and is not found.
    """
    greys = [_grey(image) for image in trained]
    if not greys:
        return
    ours = [_grey(image) for image in tested]
    everything = _Sum(np.sum([*ours, *greys], axis=0), len(ours) + len(greys))
    what, count = "looking for pieces of test images in training images", len(trained) + len(tested)
    features = []
    for position, grey in enumerate(greys):
        features.append(_features(grey, position))
        report(what, position + 1, count)
    pool = _joined(features)
    for position, image in enumerate(tested):
        report(what, len(trained) + position + 1, count)
        best: dict[int, SharedPiece] = {}
        others = everything.without(ours[position])
        for grey in (ours[position], _grey(image[:, ::-1])):
            for piece in _pieces(grey, position, greys, others, pool):
                best[piece.trained] = max(piece, best.get(piece.trained, piece), key=lambda each: each.votes)
        yield from (best[trained_] for trained_ in sorted(best))


def _grey(image: Image) -> _Grey:
    small = PillowImage.fromarray(np.ascontiguousarray(image)).convert("L")
    kind = PillowImage.Resampling.BOX if max(small.size) > _SIDE else PillowImage.Resampling.BICUBIC
    return np.asarray(np.asarray(small.resize((_SIDE, _SIDE), kind)) / 255, dtype=np.float32)


def _features(grey: _Grey, owner: int) -> _Features:
    for contrast in _CONTRASTS:
        found = SIFT(c_dog=contrast)
        try:
            found.detect_and_extract(grey)
        except RuntimeError:  # how scikit-image says that there are none
            continue
        if len(found.keypoints) >= _ENOUGH:
            break
    if found.keypoints is None or found.descriptors is None:
        return _Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32), np.zeros(0, np.intp))
    descriptors = found.descriptors.astype(np.float32)
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
    points = found.keypoints[:, ::-1].astype(np.float64)
    return _Features(points, descriptors, np.full(len(points), owner, np.intp))


def _joined(parts: Sequence[_Features]) -> _Features:
    return _Features(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.descriptors for part in parts]),
        np.concatenate([part.owners for part in parts]),
    )


def _pieces(grey: _Grey, position: int, greys: Sequence[_Grey], others: _Sum, pool: _Features) -> Iterator[SharedPiece]:
    own = _features(grey, position)
    voters, chosen = _votes(own, pool)
    owners, counts = np.unique(pool.owners[chosen], return_counts=True)
    for owner in owners[counts >= _LEAST_VOTES]:
        of_owner = pool.owners[chosen] == owner
        here, there = own.points[voters[of_owner]], pool.points[chosen[of_owner]]
        motion, explained = ransac((here, there), SimilarityTransform, 2, _WITHIN, max_trials=100, rng=0)
        if not motion or explained is None or not _is_copying(motion):
            continue
        points = np.unique(here[explained], axis=0)
        in_pose = _in_pose(motion)
        agreement = _agreement(grey, greys[owner], others.without(greys[owner]).mean, motion, points)
        # In one pose, products share a mould's marks, so that a few votes say nothing.
        enough = _LEAST_VOTES if agreement >= _AGREEMENT and not in_pose else _SURE_VOTES
        if len(points) >= enough:
            yield SharedPiece(position, int(owner), len(points), float(motion.scale), agreement, in_pose)


def _votes(own: _Features, pool: _Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The features that vote, and the feature of the pool that each votes for."""
    if not len(own.points) or not len(pool.points):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    chosen, cosine = [], []
    for start in range(0, len(own.points), _BLOCK):
        similar = own.descriptors[start : start + _BLOCK] @ pool.descriptors.T
        chosen.append(similar.argmax(axis=1))
        cosine.append(similar.max(axis=1))
    voters = np.nonzero(np.concatenate(cosine) > _ALIKE)[0]
    return voters, np.concatenate(chosen)[voters]


def _is_copying(motion: SimilarityTransform) -> bool:
    degrees = float(np.degrees(motion.rotation)) % 90
    return min(degrees, 90 - degrees) <= _OFF_QUARTER and 1 / _ZOOM <= motion.scale <= _ZOOM


def _in_pose(motion: SimilarityTransform) -> bool:
    """Whether the frame stays where it is, but for small shifts and quarter turns."""
    middle = np.full((1, 2), (_SIDE - 1) / 2)
    moved = float(np.abs(motion(middle) - middle).max())
    return abs(motion.scale - 1) <= _POSE and moved <= _POSE * _SIDE


def _agreement(
    tested: _Grey, trained: _Grey, usual: _Grey, motion: SimilarityTransform, points: NDArray[np.float64]
) -> float:
    """Correlation of details within the box of `points`, both at the coarser one's resolution, less what is usual.

    As much of the usual is taken out of either as there is in it: busbars differ in darkness and not in place.
    """
    zoom = motion.scale
    tested, trained = _blurred(tested, 1 / zoom), _blurred(trained, zoom)
    moved, common = (warp(each, motion, output_shape=tested.shape, order=1, mode="edge") for each in (trained, usual))
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 1
    *pair, common = (
        (each - gaussian_filter(each, _COARSE))[top:bottom, left:right].ravel().astype(np.float64)
        for each in (tested, moved, common)
    )
    ours, theirs = (_without(each - each.mean(), common - common.mean()) for each in pair)
    if min(ours.std(), theirs.std()) < 1e-4:
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])


def _without(detail: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a detail when the usual one is taken out, as large as it is in it."""
    power = float(usual @ usual)
    return detail - usual * (float(detail @ usual) / power) if power > 0 else detail


def _blurred(grey: _Grey, zoom: float) -> _Grey:
    """Blurred as enlarging by `zoom` would have it; unchanged for a zoom below 1."""
    if zoom <= 1:
        return grey
    return np.asarray(gaussian_filter(grey, 0.5 * np.sqrt(zoom**2 - 1)), dtype=np.float32)
