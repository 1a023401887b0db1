"""Textures to lay over clean images: a folder of pictures, or free ones that come with the libraries.

In: a folder such as DTD's (Cimpoi et al., CVPR 2014), or none. Out: `textures.parquet`, square pictures of the
dataset's size. The file stands for every byte that it was made from, so that samples do not depend on a path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from skimage import data

from tasks.contracts import DefectoryError, Image
from tasks.files.atomic import write_atomic
from tasks.files.hashing import file_sha256
from tasks.files.pictures import encode_image
from tasks.files.products import is_made, mark_made
from tasks.files.tables import IMAGE_ROWS, encode_table
from tasks.inputs.normalise import UnusableInput, read_photograph
from tasks.params import fingerprint
from tasks.progress import Report
from tasks.seeds import derive, numpy_generator
from tasks.training.procedural import procedural_image

TEXTURES = "textures.parquet"
_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_MOST = 1000
"""Textures taken from a folder, evenly spaced."""
_PROCEDURAL = 61


def fit_textures(folder: str, size: int, max_pixels: int, workdir: Path, report: Report) -> None:
    """Make the product, if it is not made from exactly these pictures. Raises DefectoryError for a folder without."""
    files = _files(folder) if folder else []
    target = workdir / TEXTURES
    made_from = fingerprint("textures 1", size, max_pixels, [file_sha256(file) for file in files])
    if is_made(target, made_from):
        return
    pictures: list[bytes] = []
    count = len(files) if folder else 3 + _PROCEDURAL
    for number in range(count):
        report("collecting textures", number, count)
        texture = _read(files[number], max_pixels) if folder else _free(number, size)
        if texture is not None:
            pictures.append(encode_image(squared(texture, size)))
    if not pictures:
        raise DefectoryError(f"draem.textures: no picture in {folder!r} can be read; give a folder of photographs")
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomic(target, encode_table(pa.table({"image": pa.array(pictures, pa.binary())}), IMAGE_ROWS))
    mark_made(target, made_from)


def load_textures(workdir: Path) -> tuple[bytes, ...]:
    """The textures, encoded. Raises DefectoryError where `fit_textures` has not finished."""
    path = workdir / TEXTURES
    if not path.is_file():
        raise DefectoryError(f"{path}: missing, the textures are not collected; run `defectory run`")
    return tuple(pq.read_table(path).column("image").to_pylist())


def squared(texture: Image, size: int) -> Image:
    """The central square, brought to (size, size, 3); what is smaller goes on as its own mirror image."""
    side = min(texture.shape[:2])
    top, left = ((length - side) // 2 for length in texture.shape[:2])
    square = texture[top : top + side, left : left + side]
    if side < size:
        return np.pad(square, ((0, size - side), (0, size - side), (0, 0)), mode="symmetric")
    return np.asarray(PIL.Image.fromarray(square).resize((size, size), PIL.Image.Resampling.BOX))


def _files(folder: str) -> list[Path]:
    found = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in _ENDINGS and path.is_file()]
    if not found:
        raise DefectoryError(f"draem.textures: no pictures in {folder!r}; give a folder of photographs, or none")
    return [found[int(number)] for number in np.linspace(0, len(found) - 1, min(len(found), _MOST))]


def _read(file: Path, max_pixels: int) -> Image | None:
    try:
        return read_photograph(file, max_pixels)
    except UnusableInput:
        return None


def _free(number: int, size: int) -> Image:
    """The photographs of scikit-image that its wheel holds, then procedural surfaces."""
    photographs = (data.brick, data.grass, data.gravel)
    if number < len(photographs):
        return np.repeat(photographs[number]()[..., None], 3, axis=2)
    return procedural_image(size, numpy_generator(derive(number, "texture")))
