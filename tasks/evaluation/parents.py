"""Which photograph a synthetic image was painted on, told from the pixels outside its mask.

In: synthetic examples and the normal photographs. Out: one photograph each. A release could say so itself; baselines
and datasets from elsewhere cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.detectors.protocol import Example

_LOOKED_AT = 32
"""Pixels a side by which images are compared, at least."""


def nearest_normals(defects: Sequence[Example], normals: Sequence[Example]) -> list[str]:
    """The id of the normal image from which each defect's image differs least outside its mask, by mean grey level.

    That is the photograph it was painted on, where there is one. Every so many pixels are looked at.
    """
    known = np.stack([_thinned(normal.image) for normal in normals]).astype(np.int16)
    found = []
    for defect in defects:
        outside = np.ones(known.shape[1:3], bool) if defect.mask is None else ~_thinned(defect.mask)
        differences = np.abs(known[:, outside] - _thinned(defect.image)[outside].astype(np.int16))
        found.append(normals[int(differences.mean(axis=(1, 2)).argmin())].example_id)
    return found


def _thinned(picture: NDArray[Any]) -> NDArray[Any]:
    step = max(1, len(picture) // _LOOKED_AT)
    return picture[::step, ::step]
