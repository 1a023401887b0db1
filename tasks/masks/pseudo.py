"""Pseudo-masks for defective images that carry an image label only.

A pixel is anomalous where it leaves the envelope of every one of the most similar clean images of its
category: below the darkest or above the brightest grey that the clean image shows within a few pixels.
The envelope forgives small displacements between two photographs of one kind of part, and the minimum over
several clean images forgives natural variation; thresholds come from clean images treated the same way, each
against the others, so that about `1 - quantile` of a clean image's pixels would be called anomalous.

Suited to parts that are photographed in one pose. It is a stand-in for labels, and the report shows some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, transform
from skimage.morphology import closing, disk, remove_small_objects

from tasks.contracts import Image, Mask

Plane = NDArray[np.float32]
Polarity = Literal["dark", "bright", "both"]

_NEIGHBOURS = 6
_CALIBRATION_IMAGES = 96
_LEVEL_PERCENTILE = 80
"""Of the foreground: above the median, so that a large dark defect does not pass for a dark exposure."""
_LEAST_TEXTURE = 0.01
_LEAST_THRESHOLD = 0.25
"""In units of the image's texture: what lies below is noise, however much alike the clean images are."""
_TEXTURE_WEIGHT = 5.0
_LOW_SHARE = 0.5
"""Hysteresis: pixels above this share of the threshold count when they touch one above it."""


def normalised_grey(image: Image, foreground: Mask) -> Plane:
    """Grey levels divided by a high percentile over the foreground, which takes out the exposure; (height, width)."""
    grey = image.astype(np.float32).mean(axis=2)
    level = float(np.percentile(grey[foreground] if foreground.any() else grey, _LEVEL_PERCENTILE))
    return ndimage.gaussian_filter(grey / max(level, 1.0), 0.7)


class CleanEnvelopes:
    """The clean images of one category, ready to be compared with."""

    def __init__(self, cleans: Sequence[Plane], polarity: Polarity, reach: int = 5) -> None:
        """`reach`: side in pixels of the window in which a clean image's darkest and brightest grey are taken."""
        self.polarity = polarity
        self.summaries = np.stack([_summary(plane) for plane in cleans])
        self.low = np.stack([ndimage.minimum_filter(plane, reach) for plane in cleans]).astype(np.float16)
        self.high = np.stack([ndimage.maximum_filter(plane, reach) for plane in cleans]).astype(np.float16)

    def anomaly(self, plane: Plane, leave_out: int | None = None) -> Plane:
        """How far each pixel lies outside the nearest clean envelopes, in units of the image's own texture."""
        distance = np.square(self.summaries - _summary(plane)).sum(axis=1)
        if leave_out is not None:
            distance[leave_out] = np.inf
        nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
        nearest = nearest[np.isfinite(distance[nearest])]
        below = (self.low[nearest].astype(np.float32) - plane).min(axis=0)
        above = (plane - self.high[nearest].astype(np.float32)).min(axis=0)
        outside = {"dark": below, "bright": above, "both": np.maximum(below, above)}[self.polarity]
        return np.maximum(outside, 0.0) / (_LEAST_TEXTURE + float(np.median(_texture(plane))))


def _texture(plane: Plane) -> Plane:
    return np.abs(plane - ndimage.gaussian_filter(plane, 4.0))


def _summary(plane: Plane) -> Plane:
    """What makes two clean images alike: their shading, and where how much texture is."""
    shading = transform.resize(plane, (16, 16), anti_aliasing=True)
    texture = transform.resize(_texture(plane), (8, 8), anti_aliasing=True)
    return np.concatenate([shading.ravel() / 16, _TEXTURE_WEIGHT * texture.ravel() / 8]).astype(np.float32)


def threshold_of(envelopes: CleanEnvelopes, cleans: Sequence[Plane], quantile: float) -> Plane:
    """A threshold for each pixel, from clean images that are each compared with the others.

    The `quantile` over all pixels, or over the images at that place where that is higher: the rim of a part,
    say, varies more than its middle. Of one image alone it is the least that there is.
    """
    if len(cleans) < 2:
        return np.full(cleans[0].shape, _LEAST_THRESHOLD, dtype=np.float32)
    step = max(1, len(cleans) // _CALIBRATION_IMAGES)
    maps = np.stack([envelopes.anomaly(cleans[i], leave_out=i) for i in range(0, len(cleans), step)])
    at_place = ndimage.maximum_filter(np.quantile(maps, quantile, axis=0), 5)
    return np.maximum(at_place, max(float(np.quantile(maps, quantile)), _LEAST_THRESHOLD)).astype(np.float32)


def pseudo_mask(anomaly: Plane, foreground: Mask, threshold: Plane, smallest_share: float) -> Mask:
    """Threshold with hysteresis inside the foreground, drop specks below `smallest_share` of the image, close gaps."""
    ratio = anomaly / threshold * foreground
    found = filters.apply_hysteresis_threshold(ratio, _LOW_SHARE, 1.0)
    found = closing(found, disk(1))
    return remove_small_objects(found, max_size=max(1, int(smallest_share * found.size)))


def pseudo_masks(
    defects: Sequence[tuple[Image, Mask]],
    cleans: Sequence[tuple[Image, Mask]],
    quantile: float,
    polarity: Polarity,
    smallest_share: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Plane, Mask]]:
    """For each (image, foreground) with a defect its anomaly map and pseudo-mask, both (height, width).

    A mask is empty where nothing leaves the envelopes; such an image then supervises nothing.
    """
    planes = [normalised_grey(*clean) for clean in cleans]
    envelopes = CleanEnvelopes(planes, polarity)
    threshold = threshold_of(envelopes, planes, quantile)
    results = []
    for number, (image, foreground) in enumerate(defects, start=1):
        anomaly = envelopes.anomaly(normalised_grey(image, foreground))
        results.append((anomaly, pseudo_mask(anomaly, foreground, threshold, smallest_share)))
        if progress:
            progress(number, len(defects))
    return results
