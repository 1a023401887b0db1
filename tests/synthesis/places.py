"""Places to paint on, for the systems without a model: small, of many colours, and each image unlike the others."""

from __future__ import annotations

import zlib

import numpy as np

from tasks.contracts import CLEAN, TRAIN, DrawnMask, Image, InputImage, Mask, Place, SampleSpec
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.seeds import derive
from tasks.synthesis.protocol import Painted

SIZE = 96


def picture(name: str, size: int = SIZE) -> Image:
    """Waves and noise in three colours; the name is the seed."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    rows, columns = np.mgrid[:size, :size]
    phase = generator.uniform(0, 6, 3)
    waves = 110 + 45 * np.sin(rows[..., None] / 9 + phase) + 25 * np.cos(columns[..., None] / 5 + phase)
    return (waves + generator.normal(0, 4, (size, size, 3))).clip(0, 255).astype(np.uint8)


def photograph(
    name: str, kind: str = CLEAN, image: Image | None = None, mask: Mask | None = None, split: str = TRAIN
) -> InputImage:
    pixels = picture(name) if image is None else image
    whole = np.ones(pixels.shape[:2], bool)
    image_id = f"part/{kind}/{name}"
    return InputImage(image_id, "part", kind, split, name, pixels, mask, whole, name, name, "made", "Apache-2.0")


def inputs_of(*images: InputImage) -> Inputs:
    return Inputs(images, (), "inputs")


def place_on(clean: InputImage, drawn: Mask | DrawnMask, strength: float = 1.0, seed: int = 7) -> Place:
    spec = SampleSpec("part-000000", "parts", "part", "hole", 0, clean.image_id, "boxes", strength, derive(seed, "s"))
    return Place(spec, clean, drawn if isinstance(drawn, DrawnMask) else DrawnMask(drawn, "boxes"))


def blob(row: float, column: float, radius: float, size: int = SIZE) -> Mask:
    rows, columns = np.mgrid[:size, :size]
    mask: Mask = np.hypot(rows - row, (columns - column) / 1.6) < radius
    return mask


def params_with(**blocks: object) -> Params:
    dataset = {"name": "parts", "image_size": SIZE}
    return Params.model_validate({"dataset": dataset, "inputs": {"sources": [{"kind": "elpv"}]}, **blocks})


def levels(painted: Painted, number: int = 0) -> np.ndarray:
    """Grey levels (height, width, 3), not rounded."""
    assert painted.images is not None
    return (painted.images[number].permute(1, 2, 0).numpy().astype(np.float64) + 1) * 127.5
