"""Procedural photographs of industrial surfaces, to train a codec on images that carry no licence.

Grains, dead leaves, brushed and cast metal, conductor grids, cracks, spots, sensor noise: statistics that a
codec for inspection images meets, in the spirit of Baradad et al., "Learning to See by Looking at Noise"
(NeurIPS 2021). Every image is uint8 (size, size, 3) and a pure function of its generator.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage import draw

from tasks.contracts import Image

_Plane = NDArray[np.float32]


def fractal_noise(size: int, generator: Generator, slope: float | None = None) -> _Plane:
    """Noise whose spectrum falls as frequency ** -slope, scaled to [0, 1]."""
    slope = generator.uniform(0.6, 2.2) if slope is None else slope
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    shape = frequency.shape
    spectrum = (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)) * frequency**-slope
    plane = np.fft.irfft2(spectrum, s=(size, size))
    return _to_unit(plane)


def _to_unit(plane: NDArray[np.floating]) -> _Plane:
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.clip((plane - low) / max(high - low, 1e-9), 0.0, 1.0).astype(np.float32)


def _grains(size: int, generator: Generator) -> _Plane:
    """Polycrystals: Voronoi cells, each with its own grey level and a gradient along its own direction."""
    count = int(generator.integers(8, 160))
    points = generator.uniform(0, size, (count, 2))
    rows, columns = np.mgrid[:size, :size]
    warp = 14 * (fractal_noise(size, generator, 1.6) - 0.5)
    _, cell = spatial.cKDTree(points).query(np.stack([rows + warp, columns - warp], axis=-1))
    angle = generator.uniform(0, 2 * np.pi, count)
    slope = generator.normal(0, 0.004, count)
    relief = slope[cell] * (np.cos(angle[cell]) * rows + np.sin(angle[cell]) * columns)
    return (generator.uniform(0.15, 0.9, count)[cell] + relief).astype(np.float32)


def _dead_leaves(size: int, generator: Generator) -> _Plane:
    """Discs and polygons that occlude one another, with sizes of a power law (Lee, Mumford and Huang 2001)."""
    plane = np.full((size, size), generator.uniform(), np.float32)
    for _ in range(int(generator.integers(40, 220))):
        radius = 3.0 * generator.uniform() ** -0.7
        centre = generator.uniform(0, size, 2)
        corners = int(generator.choice([3, 4, 5, 24]))
        angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
        radius = min(radius, size / 3)
        rows, columns = draw.polygon(
            centre[0] + radius * np.sin(angles), centre[1] + radius * np.cos(angles), (size, size)
        )
        plane[rows, columns] = generator.uniform()
    return plane


def _brushed(size: int, generator: Generator) -> _Plane:
    """A surface with a direction: brushed metal, wood, fabric."""
    noise = generator.standard_normal((size, size))
    lengths = (generator.uniform(0.3, 2), generator.uniform(8, 60))
    plane = _to_unit(ndimage.gaussian_filter(noise, lengths, mode="wrap"))
    return ndimage.rotate(np.tile(plane, (2, 2)), generator.uniform(0, 180), reshape=False, order=1)[
        size // 2 : size // 2 + size, size // 2 : size // 2 + size
    ]


def _grid(size: int, generator: Generator) -> _Plane:
    """Regular conductors or mesh over a soft ground."""
    rows, columns = np.mgrid[:size, :size]
    plane = generator.uniform(0.4, 0.9) + 0.3 * (fractal_noise(size, generator, 1.8) - 0.5)
    for axis in (rows, columns)[: int(generator.integers(1, 3))]:
        period, width = generator.uniform(4, 90), generator.uniform(1, 8)
        plane = np.where((axis + generator.uniform(0, period)) % period < width, plane * generator.uniform(), plane)
    return plane.astype(np.float32)


def _smooth(size: int, generator: Generator) -> _Plane:
    return 0.5 + 0.5 * (fractal_noise(size, generator, generator.uniform(1.6, 2.6)) - 0.5)


_SURFACES: tuple[Callable[[int, Generator], _Plane], ...] = (
    fractal_noise,
    _grains,
    _dead_leaves,
    _brushed,
    _grid,
    _smooth,
)


def _scratch(plane: _Plane, generator: Generator) -> _Plane:
    """Thin dark or bright lines and soft spots, as cracks and dirt have."""
    size = len(plane)
    for _ in range(int(generator.integers(0, 6))):
        steps = int(generator.integers(20, 160))
        heading = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(0, 0.25, steps))
        path = generator.uniform(0, size, 2)[:, None] + np.cumsum([np.sin(heading), np.cos(heading)], axis=1) * 1.5
        line = np.zeros_like(plane)
        inside = ((path >= 0) & (path < size)).all(axis=0)
        line[tuple(path[:, inside].astype(int))] = 1.0
        soft = ndimage.gaussian_filter(line, generator.uniform(0.5, 2.0))
        plane = plane + generator.uniform(-0.9, 0.5) * soft / max(float(soft.max()), 1e-9)
    for _ in range(int(generator.integers(0, 4))):
        centre, radius = generator.uniform(0, size, 2), generator.uniform(2, size / 5)
        rows, columns = np.mgrid[:size, :size]
        distance = np.hypot(rows - centre[0], columns - centre[1]) / radius
        plane = plane + generator.uniform(-0.5, 0.4) / (1 + np.exp(8 * (distance - 1)))
    return plane


def procedural_image(size: int, generator: Generator) -> Image:
    """One image: a mixture of two surfaces with scratches, shading, colour or grey, blur and sensor noise."""
    first, second = (_SURFACES[i](size, generator) for i in generator.integers(0, len(_SURFACES), 2))
    blend = fractal_noise(size, generator, 2.2) if generator.uniform() < 0.5 else np.float32(generator.uniform(0, 0.4))
    plane: NDArray[np.floating] = _scratch(first * (1 - blend) + second * blend, generator)
    shading = 0.6 + 0.6 * fractal_noise(size, generator, 2.6)
    plane = plane * shading * generator.uniform(0.6, 1.2)
    if generator.uniform() < 0.45:
        image = np.repeat(plane[..., None], 3, axis=2)
    else:
        tint = generator.dirichlet((2.0, 2.0, 2.0)) * 3
        other = second[..., None] * generator.uniform(0, 1, 3) * 0.4
        image = plane[..., None] * tint * 0.8 + other
    image = ndimage.gaussian_filter(image, (blur := generator.exponential(0.5), blur, 0))
    grain = generator.normal(0, generator.exponential(0.015), (size, size, 1))
    return (np.clip(image + grain, 0, 1) * 255).astype(np.uint8)


def _grating(size: int, generator: Generator) -> _Plane:
    """Lines at any angle, from a period of 2.5 pixels on, now and then bent: mesh, fabric, milled metal."""
    rows, columns = np.mgrid[:size, :size]
    angle, period = generator.uniform(0, np.pi), 2.5 * 16 ** generator.uniform()
    bend = generator.uniform(0, 30) * fractal_noise(size, generator, 2.4) if generator.uniform() < 0.4 else 0.0
    wave = np.sin(2 * np.pi * (np.sin(angle) * rows + np.cos(angle) * columns + bend) / period)
    sharpness = generator.choice([0.8, 3.0, 12.0])
    return (0.5 + generator.uniform(0.02, 0.45) * np.tanh(sharpness * wave)).astype(np.float32)


def _hairlines(size: int, generator: Generator) -> _Plane:
    """Straight lines of one pixel over a soft ground."""
    plane = _smooth(size, generator)
    for _ in range(int(generator.integers(4, 60))):
        rows, columns, cover = draw.line_aa(*(int(end) for end in generator.integers(0, size, 4)))
        plane[rows, columns] += generator.uniform(-0.5, 0.5) * cover
    return plane


def _cast(size: int, generator: Generator) -> _Plane:
    """Cast metal, concrete, paper: an even ground with texture of low contrast and pits."""
    texture = fractal_noise(size, generator, generator.uniform(0.0, 1.2)) - 0.5
    plane = generator.uniform(0.15, 0.8) + generator.uniform(0.03, 0.3) * texture
    pits = ndimage.gaussian_filter(generator.standard_normal((size, size)), generator.uniform(0.7, 2.5))
    return (plane - generator.uniform(0, 0.4) * (pits > pits.std() * generator.uniform(2.0, 3.5))).astype(np.float32)


def _cell(size: int, generator: Generator) -> _Plane:
    """A solar cell in electroluminescence: crystallites, fine fingers, dark busbars and border."""
    ground = _grains(size, generator)
    plane = generator.uniform(0.3, 0.8) + generator.uniform(0.05, 0.5) * (ground - ground.mean())
    rows, columns = np.mgrid[:size, :size]
    period = generator.uniform(3, 9)
    plane = plane * (1 - generator.uniform(0, 0.2) * (rows % period < 1.2))
    spacing, width = size / generator.integers(2, 5), generator.uniform(2, 7)
    plane = np.where((columns + spacing / 2) % spacing < width, plane * generator.uniform(0.05, 0.8), plane)
    edge = np.minimum.reduce([rows, columns, size - rows, size - columns])
    return (plane * np.clip(0.2 + edge / generator.uniform(1, 20), 0, 1)).astype(np.float32)


def _rings(size: int, generator: Generator) -> _Plane:
    """A round part seen from above: rings of their own brightness with highlights, before an even ground."""
    rows, columns = np.mgrid[:size, :size]
    centre, stretch = generator.uniform(0.3, 0.7, 2) * size, generator.uniform(0.8, 1.25)
    distance = np.hypot(rows - centre[0], (columns - centre[1]) * stretch)
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    plane = np.full((size, size), generator.uniform())
    for radius in np.sort(generator.uniform(0.05, 0.6, int(generator.integers(2, 9))) * size)[::-1]:
        turns, phase = generator.integers(0, 4), generator.uniform(0, 2 * np.pi)
        level = generator.uniform() + generator.uniform(0, 0.4) * np.cos(turns * angle + phase)
        inside = np.clip((radius - distance) / generator.uniform(0.7, 5) + 0.5, 0, 1)
        plane = plane * (1 - inside) + level * inside
    return plane.astype(np.float32)


_INSPECTED: tuple[Callable[[int, Generator], _Plane], ...] = (
    *_SURFACES,
    _grating,
    _hairlines,
    _cast,
    _cast,
    _cell,
    _rings,
)


def inspection_image(size: int, generator: Generator) -> Image:
    """Like `procedural_image`, but as an inspection camera sees it.

    One surface more often than a mixture, seldom in colour, over the whole range of exposures and contrasts, with
    the grain of a sensor and at times the traces of JPEG.
    """
    plane: NDArray[np.floating] = _INSPECTED[generator.integers(0, len(_INSPECTED))](size, generator)
    if generator.uniform() < 0.4:
        blend = fractal_noise(size, generator, 2.2) * generator.uniform(0.2, 1.0)
        plane = plane * (1 - blend) + _INSPECTED[generator.integers(0, len(_INSPECTED))](size, generator) * blend
    if generator.uniform() < 0.7:
        plane = _scratch(plane.astype(np.float32), generator)
    shading = 1 - generator.uniform(0, 0.6) * fractal_noise(size, generator, 2.6)
    middle = plane.mean()
    plane = (middle + (plane - middle) * generator.uniform(0.3, 1.2)) * shading * generator.uniform(0.4, 1.2)
    image = np.repeat(plane[..., None], 3, axis=2)
    if generator.uniform() < 0.4:
        image = image * (generator.dirichlet((4.0, 4.0, 4.0)) * 3)
    image = ndimage.gaussian_filter(image, (blur := generator.exponential(0.4), blur, 0))
    image = np.clip(image + _grain(size, generator)[..., None], 0, 1)
    return _as_jpeg((image * 255).astype(np.uint8), generator)


def _grain(size: int, generator: Generator) -> _Plane:
    """Noise of a sensor, of pixel size or, where the picture was enlarged, a little coarser."""
    noise = generator.standard_normal((size, size))
    if generator.uniform() < 0.5:
        noise = ndimage.gaussian_filter(noise, generator.uniform(0.3, 0.9))
        noise /= noise.std()
    return (noise * min(0.08, generator.exponential(0.02))).astype(np.float32)


def _as_jpeg(image: Image, generator: Generator) -> Image:
    """Every third picture has been a JPEG file."""
    if generator.uniform() > 1 / 3:
        return image
    held = io.BytesIO()
    PIL.Image.fromarray(image).save(held, "JPEG", quality=int(generator.integers(60, 98)))
    with PIL.Image.open(held) as picture:
        return np.asarray(picture.convert("RGB"))


def shaded_surface(normals: Image, material: Image, size: int, generator: Generator) -> Image:
    """A relief under light: measured normals that look up a material's picture of a sphere (a "matcap").

    `normals` (height, width, 3) holds x, y, z in [-1, 1] as uint8, at least `size` high and wide; `material`
    (side, side, 3) shows the sphere seen from the front. The relief is tilted and made steeper or flatter, and
    its colours vary slowly, as an uneven coating does.
    """
    top, left = (int(generator.integers(0, side - size + 1)) for side in normals.shape[:2])
    direction = normals[top : top + size, left : left + size].astype(np.float32) / 127.5 - 1
    slope = direction[..., :2] * generator.uniform(0.3, 2.0) + generator.uniform(-0.5, 0.5, 2).astype(np.float32)
    slope /= np.sqrt(1 + (slope**2).sum(axis=2, keepdims=True))
    place = ((slope * 0.96 + 1) / 2 * (len(material) - 1)).transpose(2, 0, 1)[::-1]
    lit = np.stack(
        [ndimage.map_coordinates(material[..., i].astype(np.float32), place, order=1) for i in range(3)], axis=2
    )
    coating = 1 - generator.uniform(0, 0.5) * fractal_noise(size, generator, generator.uniform(1.2, 2.4))
    image = lit / 255 * coating[..., None] + _grain(size, generator)[..., None]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
