"""Images that a codec is trained on: made by number, varied, and grainy where an inspection camera is."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.contracts import Image
from tasks.seeds import numpy_generator
from tasks.training.procedural import inspection_image, shaded_surface

SIZE = 64


def dome() -> Image:
    """A material's picture of a sphere, the brighter the higher."""
    height = np.linspace(255, 0, SIZE)[:, None, None]
    return np.broadcast_to(height, (SIZE, SIZE, 3)).astype(np.uint8)


def flat(x: int = 128, y: int = 128) -> Image:
    return np.broadcast_to(np.array([x, y, 255]), (SIZE, SIZE, 3)).astype(np.uint8)


@pytest.mark.filterwarnings("ignore:overflow")
def test_inspection_images_depend_on_their_generator_alone() -> None:
    first, again, other = (inspection_image(SIZE, numpy_generator(seed)) for seed in (3, 3, 4))
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.filterwarnings("ignore:overflow")
def test_inspection_images_cover_grey_and_colour_dark_and_bright() -> None:
    generator = numpy_generator(5)
    images = [inspection_image(SIZE, generator) for _ in range(60)]
    # JPEG moves the channels of a grey picture by a step or two.
    grey = [np.ptp(image.astype(int), axis=2).mean() < 2 for image in images]
    assert 0.3 < np.mean(grey) < 0.9
    assert min(image.mean() for image in images) < 50
    assert max(image.mean() for image in images) > 110


def test_a_relief_takes_the_material_s_brightness_where_its_normals_point() -> None:
    """Normals that look down find the sphere's dark side, those that look up its bright one."""
    brightness = [
        np.mean([shaded_surface(flat(y=y), dome(), 32, numpy_generator(seed)).mean() for seed in range(8)])
        for y in (40, 128, 215)
    ]
    assert np.ptp(brightness) > 40
    assert sorted(brightness) in (brightness, brightness[::-1])
