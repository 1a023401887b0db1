"""What the denoiser is told: defect, object, background.

In: a mask and a foreground. Out: one float map. Source: the trimap of AdaBLDM (arXiv 2402.19330, section 3.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.contracts import DefectoryError, Mask

DEFECT, OBJECT, BACKGROUND = 1.0, 0.5, 0.0


def trimap(mask: Mask, foreground: Mask) -> NDArray[np.float32]:
    """(height, width) float32: 1 where the defect is, 0.5 on the rest of the object, 0 behind it.

    A defect pixel off the foreground is 1 all the same: a real missing part lies there.
    Raises DefectoryError where the two shapes differ.
    """
    if mask.shape != foreground.shape:
        raise DefectoryError(f"a mask of {mask.shape} and a foreground of {foreground.shape}: give both one size")
    return np.where(mask, DEFECT, np.where(foreground, OBJECT, BACKGROUND)).astype(np.float32)
