"""An arm's scores on the test set: one training a seed, each kept on disk, so that nothing is trained twice.

In: the parts of an arm, the test set and a detector. Out: `Scored`, rounded to what the file holds, so that a result
read again is the result itself. A file is used only for exactly the same images, masks, params and code.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from tasks.detectors.protocol import Arm, Detector, Example, Scored, TestSet
from tasks.files.atomic import write_atomic
from tasks.params import fingerprint
from tasks.params.detectors import EvaluateParams
from tasks.progress import Report

SCORING_VERSION = 1
"""Raised whenever a detector's code changes what it scores."""


def score_arm(
    parts: Sequence[Arm],
    test: TestSet,
    detector: tuple[str, Detector],
    params: EvaluateParams,
    seed: int,
    folder: Path,
    device: torch.device,
    report: Report,
) -> Scored:
    """The scores of all test images by an arm, trained from `seed`; `detector` is its name and itself."""
    name, module = detector
    scored = []
    for number, part in enumerate(parts):
        file = folder / name / f"{part.name.replace(' ', '_')}-{number}-{seed}.npz"
        key = _key(part, test, name, params, seed)
        kept = _read(file, key)
        if kept is None:
            _write(file, key, module.score(module.fit(part, params, seed, device, report), test.images))
            kept = _read(file, key)
            assert kept is not None
        scored.append(kept)
    return _joined(parts, scored, test)


def _joined(parts: Sequence[Arm], scored: Sequence[Scored], test: TestSet) -> Scored:
    """A defect has the scores of the part that has not seen it, a normal image the mean of all parts."""
    if len(parts) == 1:
        return scored[0]
    maps = np.asarray(np.mean([each.maps for each in scored], axis=0), dtype=np.float32)
    images = np.asarray(np.mean([each.image_scores for each in scored], axis=0), dtype=np.float32)
    for place, example in enumerate(test.examples):
        for part, each in zip(parts, scored, strict=True):
            if part.unseen is not None and example.example_id in part.unseen:
                maps[place], images[place] = each.maps[place], each.image_scores[place]
    return Scored(maps, images)


def _key(arm: Arm, test: TestSet, detector: str, params: EvaluateParams, seed: int) -> str:
    block = getattr(params, detector, None)
    blocks = [block.model_dump(mode="json", exclude={"arms"}) if block else None, params.image_size]
    images = [_digest(examples) for examples in (arm.normals, arm.defects, test.examples)]
    return fingerprint(SCORING_VERSION, detector, blocks, seed, images)


def _digest(examples: Iterable[Example]) -> str:
    content = hashlib.sha256()
    for example in examples:
        content.update(f"{example.defect_type}\0{example.origin}\0".encode())
        content.update(example.image.tobytes())
        content.update(b"none" if example.mask is None else np.packbits(example.mask).tobytes())
    return content.hexdigest()


def _write(file: Path, key: str, scored: Scored) -> None:
    buffer = io.BytesIO()
    images = scored.image_scores.astype(np.float32)
    np.savez_compressed(buffer, key=np.array(key), maps=scored.maps.astype(np.float16), image_scores=images)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, buffer.getvalue())


def _read(file: Path, key: str) -> Scored | None:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            if str(content["key"]) != key:
                return None
            return Scored(content["maps"].astype(np.float32), content["image_scores"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
