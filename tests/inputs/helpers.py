"""Small photographs on disk: a bright, textured disc on a dark table, each with its own texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from tasks.contracts import CLEAN, Image
from tasks.files.pictures import encode_image
from tasks.inputs.duplicates import descriptor_of
from tasks.inputs.listing import ListedImage
from tasks.inputs.normalise import fit_image
from tasks.inputs.opening import OpenedImage
from tasks.params import DatasetParams, InputsParams, Params, SourceParams


def photograph(seed: int, size: int = 64, brightness: float = 1.0) -> Image:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    disc = rows**2 + columns**2 < 0.35**2
    coarse = np.kron(generator.normal(size=(8, 8)), np.ones((size // 8, size // 8)))
    grey = np.where(disc, 170 + 20 * coarse, 30) * brightness + generator.normal(size=(size, size))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def save(array: Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)
    return path


def mask_of(size: int = 64, value: int = 255) -> Image:
    mask = np.zeros((size, size), np.uint8)
    mask[size // 2 : size // 2 + 8, 20:40] = value
    return mask


def mvtec_tree(root: Path, clean: int = 6, held_out: int = 2, defects: int = 4) -> Path:
    """A category in MVTec's layout with one defect type, `hole`."""
    for number in range(clean):
        save(photograph(number), root / f"train/good/{number:03d}.png")
    for number in range(held_out):
        save(photograph(100 + number), root / f"test/good/{number:03d}.png")
    for number in range(defects):
        save(photograph(200 + number), root / f"test/hole/{number:03d}.png")
        save(mask_of(), root / f"ground_truth/hole/{number:03d}_mask.png")
    return root


def mvtec_source(root: Path, category: str = "disc") -> SourceParams:
    return SourceParams(kind="mvtec", root=str(root), category=category, license="CC0-1.0")


def params_of(*sources: SourceParams, size: int = 64, seed: int = 7, max_pixels: int = 1_000_000) -> Params:
    return Params(
        dataset=DatasetParams(name="discs", image_size=size, seed=seed),
        inputs=InputsParams(sources=list(sources), max_pixels=max_pixels, defect_train_share=0.5),
    )


def opened(
    name: str,
    image: Image,
    defect_type: str = CLEAN,
    physical_object: str = "",
    held_out: bool = False,
    category: str = "disc",
) -> OpenedImage:
    listed = ListedImage(
        Path(name), name, category, defect_type, held_out=held_out, name=name, physical_object=physical_object or name
    )
    return OpenedImage(
        listed,
        SourceParams(kind="folder", root="somewhere", category=category),
        encode_image(image),
        None,
        sha256=name,
        pixels=image.shape[0] * image.shape[1],
        mean_grey=float(image.mean()),
        descriptor=descriptor_of(fit_image(image, 64, "squash")),
    )
