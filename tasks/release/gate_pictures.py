"""The gate's look at the pictures: every hash, every mask, and for some of each category the pixels themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.contracts import DefectoryError, Image
from tasks.files.hashing import sha256
from tasks.files.pictures import decode_image, decode_mask
from tasks.files.tables import read_table
from tasks.quality.change import distance_to
from tasks.seeds import choose
from tasks.wording import first_few

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs

_MEASURED = 100
"""Samples of a category whose change outside mask and ring is measured again, from the released bytes."""

PICTURE_COLUMNS = ["sample_id", "shard", "image_sha256", "mask_sha256", "clean_id", "outside_max_abs"]
"""What is asked of the manifest; rows of all of its columns would be 1 GB for 360,000 samples."""


def name_some(sample_ids: Sequence[str]) -> str:
    return ", ".join(first_few(sample_ids))


def picture_problems(folder: Path, manifest: pd.DataFrame, inputs: Inputs, feather: int) -> Iterator[str]:
    """One line a problem: files or rows too many or too few, wrong hashes, duplicates, empty masks, stray changes."""
    twice = manifest["sample_id"][manifest["image_sha256"].duplicated(keep=False)]
    if len(twice):
        yield f"samples whose images are the same, byte for byte: {name_some(sorted(twice))}"
    shards = {str(name): rows for name, rows in manifest[PICTURE_COLUMNS].groupby("shard")}
    found = {path.relative_to(folder).as_posix() for path in folder.glob("images/*/*")}
    for name in sorted(shards.keys() ^ found):
        yield f"{name}: {'missing' if name in shards else 'not in the manifest'}"
    measured = _measured(manifest)
    cleans = {image.image_id: image.image for image in inputs.images}
    for name in sorted(shards.keys() & found):
        yield from _shard_problems(folder / name, name, shards[name].to_dict("records"), measured, cleans, feather)


def _measured(manifest: pd.DataFrame) -> set[str]:
    groups = manifest.groupby("category")["sample_id"]
    return {sample_id for _, group in groups for sample_id in choose(group, _MEASURED)}


def _shard_problems(
    path: Path,
    name: str,
    listed: list[dict[Any, Any]],
    measured: set[str],
    cleans: dict[str, Image],
    feather: int,
) -> Iterator[str]:
    try:
        rows = read_table(path).to_pylist()
    except DefectoryError as error:
        yield str(error)
        return
    if [row["sample_id"] for row in rows] != [entry["sample_id"] for entry in listed]:
        yield f"{name}: its {len(rows)} rows are not the {len(listed)} that the manifest lists, in their order"
        return
    for entry, row in zip(listed, rows, strict=True):
        problem = _hash_problem(entry, row)
        if not problem and entry["sample_id"] in measured:
            problem = _outside_problem(entry, row, cleans, feather)
        if problem:
            yield f"{entry['sample_id']}: {problem}"


def _hash_problem(entry: dict[Any, Any], row: dict[str, Any]) -> str:
    for kind in ("image", "mask"):
        found = sha256(row[kind]["bytes"])
        if found != entry[f"{kind}_sha256"]:
            return f"its {kind} has the SHA-256 {found[:12]}…, the manifest says {entry[f'{kind}_sha256'][:12]}…"
    return "" if decode_mask(row["mask"]["bytes"]).any() else "its mask is empty"


def _outside_problem(entry: dict[Any, Any], row: dict[str, Any], cleans: dict[str, Image], feather: int) -> str:
    """Outside mask and ring the image equals its clean twin; by as much as the scores say, where params allow more."""
    clean = cleans.get(entry["clean_id"])
    if clean is None:
        return ""
    image = decode_image(row["image"]["bytes"])
    outside = distance_to(decode_mask(row["intended_mask"]["bytes"])) > feather
    if image.shape != clean.shape or outside.shape != clean.shape[:2]:
        return f"its image is {image.shape}, its mask {outside.shape}, its clean twin {clean.shape}"
    change = np.abs(image.astype(np.int16) - clean.astype(np.int16))[outside]
    largest = int(change.max(initial=0))
    if largest <= entry["outside_max_abs"]:
        return ""
    scored = f"{entry['outside_max_abs']:g}"
    return f"differs by {largest} grey levels outside its mask and ring, where its scores say {scored}"
