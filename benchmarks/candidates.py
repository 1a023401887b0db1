"""Candidates that nobody painted: score files as the line writes them, by the ten thousand, for benchmarks.

Descriptors lie as those of painted samples do: near their clean image's, which differ among themselves, and now and
then so near to an earlier sample that they count as its duplicate. One sample in a hundred has failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.candidates.files import SCORES_SCHEMA, shard_files
from tasks.contracts import CLEAN, TRAIN, InputImage, ShardPlan
from tasks.files.hashing import sha256
from tasks.files.products import mark_made
from tasks.files.tables import encode_table
from tasks.inputs.dataset import Inputs
from tasks.params import DatasetParams, InputsParams, Params, SourceParams
from tasks.quality.nearest_real import REAL_DESCRIPTORS, REAL_SCHEMA, made_from

LOGITS, LENGTH = 1000, 256
_CLEANS, _DEFECTS, _TYPES = 200, 30, 3
_FAILED, _DUPLICATES = 0.01, 0.02
_HASHES = [sha256(bytes([number])) for number in range(64)]


def make_params(samples: int, shard_size: int) -> Params:
    source = SourceParams(kind="elpv", license="CC0-1.0")
    dataset = DatasetParams(name="synthetic", samples_per_category=samples, shard_size=shard_size)
    return Params(dataset=dataset, inputs=InputsParams(sources=[source]))


def make_inputs(categories: int) -> Inputs:
    """Photographs of the train split, all of them one tiny grey image."""
    names = [f"part{number:02d}" for number in range(categories)]
    images = [_input(name, CLEAN, number) for name in names for number in range(_CLEANS)]
    images += [_input(name, f"type{number % _TYPES}", number) for name in names for number in range(_DEFECTS)]
    return Inputs(tuple(images), (), "0" * 64)


def write_candidates(root: Path, plans: Iterable[ShardPlan], inputs: Inputs) -> int:
    """Score files and done-markers of every plan, and the real images' descriptors. Returns the bytes."""
    generator = np.random.default_rng(0)
    real = {image.image_id: _near(np.full(LENGTH, 0.05), 0.012, generator) for image in inputs.images}
    rows = [
        {**{name: getattr(image, name) for name in REAL_SCHEMA.names[:-1]}, "descriptor": real[image.image_id]}
        for image in inputs.images
    ]
    root.mkdir(parents=True)
    (root / REAL_DESCRIPTORS).write_bytes(encode_table(pa.Table.from_pylist(rows, REAL_SCHEMA)))
    mark_made(root / REAL_DESCRIPTORS, made_from(inputs.sha256))
    return sum(_write_shard(root, plan, real, generator) for plan in plans)


def _input(category: str, defect_type: str, number: int) -> InputImage:
    name = f"{category}/{defect_type}/{number:04d}"
    return InputImage(
        image_id=name,
        category=category,
        defect_type=defect_type,
        split=TRAIN,
        group=name,
        image=_GREY,
        mask=None,
        foreground=_GREY[..., 0] > 0,
        sha256=_HASHES[number % len(_HASHES)],
        path=f"{name}.png",
        source="synthetic",
        license="CC0-1.0",
    )


_GREY = np.full((32, 32, 3), 128, np.uint8)


def _near(centre: NDArray[Any], spread: float, generator: np.random.Generator) -> NDArray[np.float16]:
    return (centre + generator.normal(0, spread, centre.shape)).astype(np.float16)


def _write_shard(
    root: Path, plan: ShardPlan, real: dict[str, NDArray[np.float16]], generator: np.random.Generator
) -> int:
    data = encode_table(_table(plan, real, generator))
    files = shard_files(root, plan)
    files.scores.parent.mkdir(parents=True, exist_ok=True)
    files.scores.write_bytes(data)
    files.images.write_bytes(b"")
    listed = {
        files.images.name: {"bytes": 0, "sha256": ""},
        files.scores.name: {"bytes": len(data), "sha256": sha256(data)},
    }
    marker = {"fingerprint": plan.fingerprint, "files": listed, "painted": len(plan.specs), "failed": 0}
    files.marker.write_text(json.dumps(marker))
    return len(data)


def _table(plan: ShardPlan, real: dict[str, NDArray[np.float16]], generator: np.random.Generator) -> pa.Table:
    count = len(plan.specs)
    failed = generator.random(count) < _FAILED
    columns: dict[str, Any] = {
        name: [getattr(spec, name) for spec in plan.specs]
        for name in SCORES_SCHEMA.names
        if hasattr(plan.specs[0], name)
    }
    columns["error"] = [_ERROR if lost else None for lost in failed]
    made: dict[str, Any] = _made(plan, generator) | {
        "logits": [*generator.normal(0, 2, (count, LOGITS)).astype(np.float16)],
        "descriptor": _descriptors([real[spec.clean_id] for spec in plan.specs], generator),
    }
    columns |= {
        name: [None if lost else value for lost, value in zip(failed, made[name], strict=True)] for name in made
    }
    return pa.table({name: pa.array(columns[name], SCORES_SCHEMA.field(name).type) for name in SCORES_SCHEMA.names})


def _made(plan: ShardPlan, generator: np.random.Generator) -> dict[str, Any]:
    count = len(plan.specs)
    hashes = [sha256(f"{plan.name} {number}".encode()) for number in range(count)]
    texts = {
        "reference_id": "",
        "clean_sha256": _HASHES[0],
        "license": "CC0-1.0",
        "source": "synthetic",
        "prompt": f"a {plan.category} with a defect",
        "model_sha256": _HASHES[1],
        "params_fingerprint": plan.fingerprint,
    }
    scores = {
        "lpips_to_clean": generator.gamma(2, 0.02, count),
        "lpips_inside": generator.gamma(2, 0.1, count),
        "change_inside": generator.gamma(5, 5, count),
        "outside_max_abs": np.zeros(count),
        "outside_mean_abs": np.zeros(count),
        "seam_contrast": generator.gamma(9, 0.15, count),
        "class_confidence": generator.uniform(0.1, 0.9, count),
        "class_entropy": generator.uniform(1, 5, count),
        "intended_area": generator.uniform(0.003, 0.1, count),
    }
    scores["effective_share"] = generator.uniform(0.25, 1, count)
    scores["effective_area"] = scores["intended_area"] * scores["effective_share"]
    pictures = {f"{name}_sha256": hashes for name in ("image", "mask", "effective_mask")}
    sizes = {"width": [256] * count, "height": [256] * count}
    return {**{name: [text] * count for name, text in texts.items()}, **sizes, **pictures, **scores}


def _descriptors(cleans: list[NDArray[np.float16]], generator: np.random.Generator) -> list[NDArray[np.float16]]:
    found = _near(np.stack(cleans), 0.006, generator)
    for row in np.flatnonzero(generator.random(len(found)) < _DUPLICATES):
        found[row] = _near(found[row - 1], 0.001, generator)
    return [*found]


_ERROR = "masks: no place for a mask in 50 tries"
