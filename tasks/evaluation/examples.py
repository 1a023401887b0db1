"""Examples at the evaluation's size, from a dataset's photographs and from a release.

In: inputs and a release folder. Out: `Example`s. Splits are those of the inputs' manifest; nobody else decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.contracts import CLEAN, TEST, TRAIN, DefectoryError, Image, InputImage, Mask, check_below
from tasks.detectors.protocol import Example, TestSet
from tasks.files.names import MANIFEST, PSEUDO_MASKS
from tasks.files.pictures import decode_image, decode_mask
from tasks.inputs.dataset import Inputs
from tasks.inputs.normalise import fit_image, fit_mask
from tasks.masks.pseudo_store import read_references
from tasks.seeds import choose

RELEASE_ORIGIN = "release"
"""The origin of examples from a release."""


@dataclass(frozen=True)
class Photographs:
    """The photographs of one category as examples."""

    normals: tuple[Example, ...]
    """Clean, of the train split."""
    defects: tuple[Example, ...]
    """The real defects that generators saw, with masks or pseudo-masks; those without either are left out."""
    test: TestSet


def photographs_of(inputs: Inputs, category: str, models: Path, size: int) -> Photographs:
    """`models` holds the pseudo-masks of defects whose photographs have an image label only."""
    pseudo = {reference.reference_id: reference.mask for reference in read_references(models / PSEUDO_MASKS)}
    defects = [_photograph(image, size, pseudo) for image in inputs.defects(category, TRAIN)]
    tested = (*inputs.clean(category, TEST), *inputs.defects(category, TEST))
    return Photographs(
        tuple(_photograph(image, size) for image in inputs.clean(category, TRAIN)),
        tuple(defect for defect in defects if defect.mask is not None),
        TestSet(tuple(_photograph(image, size) for image in tested)),
    )


def synthetic(example_id: str, image: Image, mask: Mask, defect_type: str, origin: str, size: int) -> Example:
    """A synthetic image of any size, brought to `size`."""
    return Example(
        example_id, fit_image(image, size, "squash"), defect_type, fit_mask(mask, size, "squash"), origin=origin
    )


def released(folder: Path, category: str, size: int, limit: int) -> tuple[Example, ...]:
    """At most `limit` of the release's samples of a category, chosen by hash, in the order of their names.

    Raises DefectoryError where the release has none.
    """
    manifest = pq.read_table(folder / MANIFEST, columns=["sample_id", "category", "defect_type", "shard"]).to_pylist()
    rows = {row["sample_id"]: row for row in manifest if row["category"] == category}
    if not rows:
        raise DefectoryError(f"{folder}: no released sample of category {category} to evaluate; release some first")
    chosen = {sample_id: rows[sample_id] for sample_id in sorted(choose(rows, limit))}
    pictures = dict(_pictures(folder, chosen))
    return tuple(
        synthetic(sample_id, *pictures[sample_id], row["defect_type"], RELEASE_ORIGIN, size)
        for sample_id, row in chosen.items()
    )


def shuffled(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, each with the mask of the next: whoever learns from them learns nothing of defects."""
    masks = [example.mask for example in examples]
    return tuple(
        Example(example.example_id, example.image, example.defect_type, mask, example.origin)
        for example, mask in zip(examples, masks[1:] + masks[:1], strict=True)
    )


def _photograph(image: InputImage, size: int, pseudo: Mapping[str, Mask] = {}) -> Example:
    mask = None
    if image.defect_type != CLEAN:
        mask = image.mask if image.mask is not None else pseudo.get(image.image_id)
    fitted = None if mask is None or not mask.any() else fit_mask(mask, size, "squash")
    picture = fit_image(image.image, size, "squash")
    return Example(image.image_id, picture, image.defect_type, fitted, group=image.group)


def _pictures(folder: Path, rows: Mapping[str, Mapping[str, str]]) -> list[tuple[str, tuple[Image, Mask]]]:
    found = []
    for shard in sorted({row["shard"] for row in rows.values()}):
        file = folder / check_below(shard, str(folder / MANIFEST))
        table = pq.read_table(file, columns=["sample_id", "image", "mask"])
        for row in table.filter(pc.is_in(table["sample_id"], pa.array(sorted(rows), pa.string()))).to_pylist():
            found.append((row["sample_id"], (decode_image(row["image"]["bytes"]), decode_mask(row["mask"]["bytes"]))))
    return found
