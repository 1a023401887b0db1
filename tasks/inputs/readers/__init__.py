"""What a source holds: its photographs, labels, mask files and physical objects, listed before any is opened.

In: one source of the params. Out: a Listing. The MVTec layout is a folder whose patterns are known, so two readers
do for three kinds. Nothing outside a source's root is ever listed, whatever a pattern or a link says.

One hash over everything that the sources name says whether the photographs are still those that were read.
"""

from __future__ import annotations

import importlib.util
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.contracts import CLEAN, DefectoryError, SkippedInput, check_name
from tasks.files.hashing import file_sha256
from tasks.inputs.listing import ListedImage, Listing, source_name
from tasks.inputs.objects import with_objects
from tasks.params import InputsParams, SourceParams, fingerprint

_OUTSIDE = "it, or its mask, leads outside the source's root: copy the file to below the root"
_BAD_NAME = "its name holds control characters, or bytes that are no UTF-8: rename it"
_TOO_LARGE = "it, or its mask, has more than 2 GiB, which is no photograph"
_MOST_BYTES = 2 << 30
"""Every byte is hashed before a file is opened, and a file with holes may claim terabytes."""
_ENDINGS = {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""A folder with one of these is listed, to be refused by name; patterns such as `**` name all other folders, too."""


def list_source(source: SourceParams, root: Path) -> Listing:
    """List one source; a relative `source.root` starts from `root`.

    Raises DefectoryError when the source's folder or package is not there, or a rule of it cannot be followed.
    """
    base = _elpv_folder() if source.kind == "elpv" else _folder_of(source, root)
    listed = {
        "elpv": lambda: _list_elpv(source, base),
        "mvtec": lambda: _list_folder(_mvtec_as_folder(source, base), base),
        "folder": lambda: _list_folder(source, base),
    }[source.kind]()
    ordered = sorted(listed, key=lambda image: (*image.label, image.path))
    refused = {image.path: reason for image in ordered if (reason := _refusal(image, base))}
    usable = [image for image in ordered if image.path not in refused]
    skipped = [SkippedInput(_printable(path), source_name(source), refused[path]) for path in sorted(refused)]
    images = _limited(with_objects(_named(usable), source.group_rule), source.limit)
    return Listing(source, tuple(images), tuple(skipped), tuple(_warnings(source, images)))


def _folder_of(source: SourceParams, root: Path) -> Path:
    base = root / source.root
    if base.is_dir():
        return base
    raise DefectoryError(f"source {source_name(source)}: no folder {source.root!r}; correct its root in the params")


def _elpv_folder() -> Path:
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise DefectoryError("source elpv: the package elpv-dataset is missing; run 'pip install elpv-dataset'")
    return Path(package.origin).parent / "data"


def _list_elpv(source: SourceParams, base: Path) -> list[ListedImage]:
    """Cells of Deitsch et al. 2019 (Solar Energy 185): one line of labels.csv is path, probability, cell type."""
    images = []
    for line in (base / "labels.csv").read_text(encoding="utf-8").splitlines():
        path, probability, category = line.split()
        if float(probability) == 0.0:
            images.append(ListedImage(base / path, path, category, CLEAN))
        elif float(probability) >= source.min_defect_probability:
            images.append(ListedImage(base / path, path, category, "defective"))
    return images


def _mvtec_as_folder(source: SourceParams, base: Path) -> SourceParams:
    """The layout of MVTec AD (Bergmann et al., CVPR 2019) in the words of a folder source."""
    tests = sorted(folder.name for folder in base.glob("test/*") if folder.is_dir() and folder.name != "good")
    types = [check_name(name, f"source {source_name(source)}: defect type") for name in tests]
    if CLEAN in types:
        raise DefectoryError(f"source {source_name(source)}: '{CLEAN}' is no defect type; clean images are test/good")
    return source.model_copy(
        update={
            "clean": ["train/good/*"],
            "clean_test": ["test/good/*"],
            "defects": {name: [f"test/{name}/*"] for name in types},
            "masks": {name: f"ground_truth/{name}/{{stem}}_mask.png" for name in types},
        }
    )


def _list_folder(source: SourceParams, base: Path) -> list[ListedImage]:
    held_out = _files(source, base, source.clean_test)
    images = [ListedImage(base / path, path, source.category, CLEAN, held_out=True) for path in held_out]
    training = [path for path in _files(source, base, source.clean) if path not in held_out]
    images += [ListedImage(base / path, path, source.category, CLEAN) for path in training]
    for defect_type, patterns in source.defects.items():
        for path in _files(source, base, patterns):
            mask = _mask_file(source, base, defect_type, path)
            images.append(ListedImage(base / path, path, source.category, defect_type, mask))
    return images


def _files(source: SourceParams, base: Path, patterns: Sequence[str]) -> dict[str, None]:
    """Paths relative to `base`, in order and each once."""
    try:
        return {
            file.relative_to(base).as_posix(): None
            for pattern in patterns
            for file in sorted(base.glob(pattern))
            if not file.is_dir() or file.suffix.lower() in _ENDINGS
        }
    except (ValueError, NotImplementedError, IndexError) as error:
        raise DefectoryError(f"source {source_name(source)}: bad pattern in {list(patterns)}: {error}") from None


def _mask_file(source: SourceParams, base: Path, defect_type: str, path: str) -> Path | None:
    """The mask of an image; None where the source names none or nothing is there (its label counts alone)."""
    if defect_type not in source.masks:
        return None
    file = base / source.masks[defect_type].replace("{stem}", PurePosixPath(path).stem)
    return file if os.path.lexists(file) else None


def _refusal(image: ListedImage, base: Path) -> str:
    """Why a file is not even opened; empty for one that may be."""
    if _printable(image.path) != image.path:
        return _BAD_NAME
    files = [image.file] if image.mask_file is None else [image.file, image.mask_file]
    # Not Path.resolve, which raises RuntimeError for a link to itself.
    inside = all(Path(os.path.realpath(file)).is_relative_to(os.path.realpath(base)) for file in files)
    if not inside:
        return _OUTSIDE
    return _TOO_LARGE if any(file.is_file() and file.stat().st_size > _MOST_BYTES for file in files) else ""


def _printable(path: str) -> str:
    """The path with what a terminal would act on, or UTF-8 cannot hold, written as in Python: a line break as `\\n`."""
    return "".join(_escaped(character) if _acts(character) else character for character in path)


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


_NAMES: tuple[Callable[[str], str], ...] = (
    lambda path: PurePosixPath(path).stem,
    lambda path: str(PurePosixPath(path).with_suffix("")).replace("/", "-"),
    lambda path: path.replace("/", "-"),
)
"""The shortest that tells the images of one label apart is their name."""


def _named(images: Sequence[ListedImage]) -> list[ListedImage]:
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image in images:
        labels[image.label].append(image.path)
    name_of = {label: _shortest(paths) for label, paths in labels.items()}
    return [replace(image, name=name_of[image.label](image.path)) for image in images]


def _shortest(paths: Sequence[str]) -> Callable[[str], str]:
    return next((name for name in _NAMES if len(set(map(name, paths))) == len(paths)), _NAMES[-1])


def _limited(images: Sequence[ListedImage], limit: int) -> list[ListedImage]:
    """At most `limit` images of each label, evenly spaced."""
    if limit == 0:
        return list(images)
    totals, seen = Counter(image.label for image in images), Counter[tuple[str, str]]()
    chosen = []
    for image in images:
        position, total = seen[image.label], totals[image.label]
        seen[image.label] += 1
        # The first image of each of `limit` equal stretches.
        if position == 0 or position * limit // total > (position - 1) * limit // total:
            chosen.append(image)
    return chosen


def _warnings(source: SourceParams, images: Sequence[ListedImage]) -> Iterator[str]:
    found = Counter(image.defect_type for image in images)
    for defect_type in source.defects:
        if not found[defect_type]:
            yield f"{source.category}/{defect_type}: its patterns in source {source_name(source)} name no file"
    for defect_type in found:
        bare = [image.path for image in images if image.defect_type == defect_type and image.mask_file is None]
        if defect_type != CLEAN and bare and (source.kind == "mvtec" or defect_type in source.masks):
            yield (
                f"{source.category}/{defect_type}: {len(bare)} of {found[defect_type]} images have no mask file "
                f"and count as labelled only, such as {bare[0]}"
            )


def sources_sha256(params: InputsParams, root: Path) -> str:
    """A SHA-256 over path and bytes of every image and mask that the sources name; `root` as in `build_inputs`.

    Raises DefectoryError for a source that is not there.
    """
    return fingerprint([list(_entries(source, root)) for source in params.sources])


def _entries(source: SourceParams, root: Path) -> Iterator[tuple[str, str, str]]:
    for image in list_source(source, root).images:
        yield image.path, _sha256(image.file), _sha256(image.mask_file)


def _sha256(file: Path | None) -> str:
    """Empty for what is no regular file: the readers name it, here it only must not stop anything."""
    if file is None or not file.is_file():
        return ""
    return file_sha256(file)
