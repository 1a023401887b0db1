"""Descriptors of the real images of the train split, made once and kept beside the candidates.

In: inputs. Out: one small table, which a release compares candidates with. It is made where the network and the device
are at hand, in `generate`, so that a release needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from tasks.contracts import TRAIN, Image
from tasks.files.atomic import write_atomic
from tasks.files.products import is_made, mark_made
from tasks.files.tables import encode_table
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST
from tasks.networks.lpips import LPIPS
from tasks.quality.descriptor import descriptors_of
from tasks.quality.nearest_real import REAL_DESCRIPTORS, REAL_SCHEMA, made_from
from tasks.quality.scores import BATCH


def write_real_descriptors(inputs: Inputs, candidates: Path, device: torch.device = HOST) -> None:
    """Describe every image of the train split, unless these inputs have been described already.

    Raises DefectoryError where the network's weights are missing or the disk refuses.
    """
    target = candidates / REAL_DESCRIPTORS
    if is_made(target, made_from(inputs.sha256)):
        return
    images = [image for image in inputs.images if image.split == TRAIN]
    rows = [
        {
            "image_id": image.image_id,
            "category": image.category,
            "defect_type": image.defect_type,
            "group": image.group,
            "descriptor": descriptor,
        }
        for image, descriptor in zip(images, _describe([one.image for one in images], device), strict=True)
    ]
    write_atomic(target, encode_table(pa.Table.from_pylist(rows, REAL_SCHEMA)))
    mark_made(target, made_from(inputs.sha256))


@torch.inference_mode()
def _describe(images: Sequence[Image], device: torch.device) -> list[NDArray[np.float16]]:
    """One descriptor an image, from batches like those that candidates are scored in."""
    network = LPIPS().to(device)
    found: list[NDArray[np.float16]] = []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        filled = np.stack([*some, *[some[-1]] * (BATCH - len(some))])
        levels = torch.from_numpy(filled).permute(0, 3, 1, 2).contiguous().to(device)
        found += [*descriptors_of(network, levels.float() / 127.5 - 1).cpu().numpy()][: len(some)]
    return found
