"""Cracks and scratches: branching random walks with a persistent direction and a varying width.

In: an image size, a generator, a range of widths and a branch probability. Out: a mask cropped to the stroke.
Why: real cracks are thin, long and slightly jagged, turn sharply now and then, fork, meet in stars, and end in
a point; in a crystal they run straight and turn by large angles; scratches hardly turn at all. Which of these a
stroke is, is drawn with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from scipy import ndimage

from tasks.contracts import Mask
from tasks.masks.place import crop

_Floats = NDArray[np.float64]

STEP = 0.5
"""Pixels between two points of a path: no more than the least radius, so that the discs drawn there overlap."""
STROKE_REFERENCE_SIZE = 256
"""The image size that widths and facet lengths in pixels are meant for."""
MAX_DEPTH = 2
OVERSAMPLING = 4


@dataclass(frozen=True)
class StrokeStyle:
    """How one kind of stroke walks. Angles are in radians, lengths in shares of the image's side."""

    share: float
    """Of all strokes, those of this kind."""
    length: tuple[float, float]
    arms: tuple[int, int]
    """So many paths start at one point, the least and the most."""
    bend: float
    """Standard deviation of a path's slow turn from its start to its end."""
    jag: float
    """Standard deviation of a facet's heading around the path's direction."""
    facet: float
    """Mean length of a straight piece, in pixels at 256."""
    kinks: float
    """Mean number of sharp turns on a path as long as the image's side."""
    sites: int
    """Points of a path at which it may fork, each with the branch probability."""


SCRATCH = StrokeStyle(share=0.2, length=(0.12, 0.7), arms=(1, 1), bend=0.15, jag=0.02, facet=12, kinks=0, sites=0)
CRACK = StrokeStyle(share=0.3, length=(0.3, 1.0), arms=(1, 1), bend=0.45, jag=0.22, facet=5, kinks=2, sites=3)
CLEAVAGE = StrokeStyle(share=0.2, length=(0.4, 1.2), arms=(1, 2), bend=0.08, jag=0.06, facet=10, kinks=1.2, sites=2)
DENDRITE = StrokeStyle(share=0.15, length=(0.25, 0.7), arms=(1, 2), bend=0.6, jag=0.3, facet=4, kinks=1, sites=8)
STAR = StrokeStyle(share=0.15, length=(0.12, 0.5), arms=(3, 5), bend=0.3, jag=0.2, facet=5, kinks=1, sites=2)
STYLES = (SCRATCH, CRACK, CLEAVAGE, DENDRITE, STAR)


@dataclass(frozen=True)
class Path:
    """Points (n, 2) in pixels as (row, column), with the heading (n,) and the width (n,) in pixels at each."""

    points: _Floats
    headings: _Floats
    widths: _Floats


def stroke_mask(
    size: int,
    generator: np.random.Generator,
    width: tuple[float, float],
    branch_probability: float,
    reach: float = 1.0,
    style: StrokeStyle | None = None,
) -> Mask:
    """One stroke for an image of `size` pixels a side, as a mask cropped to it.

    `width` is the range of widths in pixels at 256, thin ones being likelier; it is scaled with the size, and the
    upper end holds all along the stroke. Ends taper below the lower one, but never to less than a pixel. `reach`
    scales the length. Without a `style`, one of STYLES is drawn by its share.
    """
    chosen = style or STYLES[generator.choice(len(STYLES), p=[kind.share for kind in STYLES])]
    low, high = (max(bound * size / STROKE_REFERENCE_SIZE, 1.0) for bound in width)
    walker = _Walker(chosen, size, branch_probability, high, generator)
    return _render(walker.stroke(math.exp(generator.uniform(math.log(low), math.log(high))), reach))


@dataclass(frozen=True)
class _Walker:
    """What all paths of one stroke share."""

    style: StrokeStyle
    size: int
    branch_probability: float
    thickest: float
    generator: np.random.Generator

    def stroke(self, thickness: float, reach: float) -> list[Path]:
        """All arms from one point, spread around it, with their branches."""
        arms = int(self.generator.integers(self.style.arms[0], self.style.arms[1] + 1))
        first = self.generator.uniform(0, 2 * math.pi)
        paths: list[Path] = []
        for arm in range(arms):
            heading = first + 2 * math.pi * arm / arms + self.generator.normal(0, 0.3)
            length = self.generator.uniform(*self.style.length) * self.size * reach
            trunk = self.walk(np.zeros(2), heading, length, thickness, free_start=arms == 1)
            paths += self.grow(trunk, depth=0)
        return paths

    def grow(self, trunk: Path, depth: int) -> Iterator[Path]:
        """The trunk, its branches and theirs."""
        yield trunk
        if depth == MAX_DEPTH:
            return
        for at in self.fork_sites(len(trunk.points)):
            length = (len(trunk.points) - at) * STEP * self.generator.uniform(0.3, 1.0)
            heading = trunk.headings[at] + self.either_side() * self.generator.uniform(0.35, 1.1)
            thickness = max(trunk.widths[at] * self.generator.uniform(0.6, 0.95), 1.0)
            branch = self.walk(trunk.points[at], heading, length, thickness, free_start=False)
            yield from self.grow(branch, depth + 1)

    def fork_sites(self, count: int) -> list[int]:
        """Indices of the points at which a path of `count` points forks; never at its very ends."""
        places = np.sort(self.generator.uniform(0.1, 0.85, self.style.sites))
        forks = self.generator.uniform(size=self.style.sites) < self.branch_probability
        return [int(place * count) for place in places[forks]]

    def walk(self, start: _Floats, heading: float, length: float, thickness: float, free_start: bool) -> Path:
        """A path of `length` pixels: straight facets scattered around a course that bends and sometimes kinks."""
        count = max(int(length / STEP), 2)
        share = np.linspace(0, 1, count)
        turn, arc = self.generator.normal(0, self.style.bend), self.generator.normal(0, self.style.bend / 2)
        headings = heading + turn * share + arc * np.sin(np.pi * share)
        headings += self.kinks(length / self.size, share) + self.facets(count)
        steps = STEP * np.stack([np.sin(headings), np.cos(headings)], axis=1)
        points = start + np.cumsum(steps, axis=0) - steps[0]
        return Path(points, headings, self.widths(thickness, share, free_start))

    def kinks(self, length: float, share: _Floats) -> _Floats:
        """Sharp lasting turns, to one side and the other alternately, so that the path keeps its course."""
        turns = self.generator.poisson(self.style.kinks * length)
        places = np.sort(self.generator.uniform(0.1, 0.9, turns))
        side = self.either_side() * (-1.0) ** np.arange(turns)
        angles = side * self.generator.uniform(0.4, 1.4, turns)
        course: _Floats = ((share[:, None] >= places) * angles).sum(axis=1)
        return course

    def facets(self, count: int) -> _Floats:
        """A heading's deviation at each point, constant along facets of exponentially distributed length."""
        mean = max(self.style.facet * self.size / STROKE_REFERENCE_SIZE / STEP, 1.0)
        lengths = np.ceil(self.generator.exponential(mean, count)).astype(int)
        deviations = self.generator.normal(0, self.style.jag, count)
        return np.repeat(deviations, np.maximum(lengths, 1))[:count]

    def widths(self, thickness: float, share: _Floats, free_start: bool) -> _Floats:
        """Widths that swell and thin smoothly and run out towards a free end."""
        swell = ndimage.gaussian_filter1d(self.generator.normal(size=len(share)), 10, mode="nearest")
        widths = thickness * np.clip(1 + 1.5 * swell, 0.6, 1.4)
        widths *= np.clip((1 - share) / self.generator.uniform(0.1, 0.4), 0, 1) ** 0.7
        if free_start:
            widths *= np.clip(share / self.generator.uniform(0.05, 0.4), 0, 1) ** 0.7
        return np.clip(widths, 1.0, self.thickest)

    def either_side(self) -> int:
        return int(self.generator.choice([-1, 1]))


def _render(paths: list[Path]) -> Mask:
    """Discs along the paths, drawn large and averaged down, so that widths between whole pixels count."""
    points = np.concatenate([path.points for path in paths])
    radii = np.concatenate([path.widths for path in paths])[:, None] / 2
    low = np.floor((points - radii).min(axis=0)) - 1
    height, width = (int(extent) + 2 for extent in np.ceil((points + radii).max(axis=0) - low))
    canvas = Picture.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    boxes = np.hstack([points - radii - low, points + radii - low])[:, [1, 0, 3, 2]] * OVERSAMPLING
    for box in boxes.tolist():
        draw.ellipse(box, fill=255)
    return crop(np.asarray(canvas.reduce(OVERSAMPLING)) >= 128)
