"""pseudo_masks.parquet: a dataset's pseudo-masks beside the images and anomaly maps they came from, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.contracts import TRAIN, Image, InputImage, Mask, ReferenceMask
from tasks.files.atomic import replacing
from tasks.files.names import PSEUDO_MASKS
from tasks.files.pictures import decode_image, decode_mask, encode_image, encode_mask
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.masks.pseudo import Plane, pseudo_masks
from tasks.params import Params, fingerprint
from tasks.progress import Report

_BRIGHTEST = 8.0
"""The anomaly that is drawn white."""
_SPECK_SHARE = 0.0006
"""Of the image: smaller pseudo-masks are taken for noise."""
_CLEAN_FOR_PSEUDO = 400


@dataclass(frozen=True)
class PseudoMask:
    """One image's row."""

    image: InputImage
    anomaly: Plane
    found: Mask


@dataclass(frozen=True)
class StoredPseudoMask:
    image_id: str
    category: str
    defect_type: str
    image: Image
    anomaly: Image
    mask: Mask

    def reference(self) -> ReferenceMask:
        return ReferenceMask(self.image_id, self.category, self.defect_type, self.mask, pseudo=True)


def write_pseudo_masks(path: Path, rows: Sequence[PseudoMask]) -> None:
    """Rows sorted by image id; an anomaly map is kept as a grey picture."""
    ordered = sorted(rows, key=lambda row: row.image.image_id)
    table = pa.table(
        {
            "image_id": pa.array([row.image.image_id for row in ordered], pa.string()),
            "category": pa.array([row.image.category for row in ordered], pa.string()),
            "defect_type": pa.array([row.image.defect_type for row in ordered], pa.string()),
            "image": pa.array([encode_image(row.image.image) for row in ordered], pa.binary()),
            "anomaly": pa.array([encode_image(_picture(row.anomaly)) for row in ordered], pa.binary()),
            "mask": pa.array([encode_mask(row.found) for row in ordered], pa.binary()),
        }
    )
    with replacing(path) as partial:
        pq.write_table(table, partial, row_group_size=100, compression="NONE")


def read_pseudo_masks(path: Path) -> list[StoredPseudoMask]:
    """All rows; none where the file is absent, as for a system that makes no pseudo-masks."""
    if not path.is_file():
        return []
    return [
        StoredPseudoMask(
            row["image_id"],
            row["category"],
            row["defect_type"],
            decode_image(row["image"]),
            decode_image(row["anomaly"]),
            decode_mask(row["mask"]),
        )
        for row in pq.read_table(path).to_pylist()
    ]


def read_references(path: Path) -> list[ReferenceMask]:
    """The masks alone, to take shapes from: decoding the pictures beside them would take most of the time."""
    if not path.is_file():
        return []
    columns = ["image_id", "category", "defect_type", "mask"]
    return [
        ReferenceMask(row["image_id"], row["category"], row["defect_type"], decode_mask(row["mask"]), pseudo=True)
        for row in pq.read_table(path, columns=columns).to_pylist()
    ]


def _picture(anomaly: Plane) -> Image:
    grey = np.clip(anomaly / _BRIGHTEST, 0, 1) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def fit_pseudo_masks(inputs: Inputs, params: Params, workdir: Path, report: Report) -> None:
    """Pseudo-masks for the train split's defects that have an image label only; none where all have masks."""
    target = workdir / PSEUDO_MASKS
    made_from = fingerprint("pseudo 2", params.masks, inputs.sha256)
    if is_made(target, made_from):
        return
    rows: list[PseudoMask] = []
    for category in inputs.categories:
        defects = [defect for defect in inputs.defects(category, TRAIN) if defect.mask is None]
        cleans = inputs.clean(category, TRAIN)
        if not defects:
            continue
        found = pseudo_masks(
            [(defect.image, defect.foreground) for defect in defects],
            [(clean.image, clean.foreground) for clean in cleans[:: max(1, len(cleans) // _CLEAN_FOR_PSEUDO)]],
            params.masks.pseudo_quantile,
            params.masks.pseudo_polarity,
            _SPECK_SHARE,
            lambda done, count, name=category: report(f"pseudo-masks of {name}", done, count),  # type: ignore[misc]
        )
        rows += [PseudoMask(d, anomaly, mask) for d, (anomaly, mask) in zip(defects, found, strict=True)]
    write_pseudo_masks(target, rows)
    mark_made(target, made_from)
