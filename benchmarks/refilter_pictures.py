"""What a release's pictures cost: packing them into its shards, and the gate's look at every one.

In: solar cells of the package elpv-dataset at 256 px, each with a dark square for a defect. Out: seconds of computing a
sample, waiting for the disk left out.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from benchmarks.candidates import LENGTH, make_inputs, make_params
from benchmarks.ic_lpips import solar_cells
from tasks.candidates.files import SCORES
from tasks.candidates.read import read_scores
from tasks.candidates.write import write_shard
from tasks.contracts import Candidate, Image, Mask, SampleSpec
from tasks.inputs.dataset import Inputs
from tasks.plan import plan_shards
from tasks.release.gate_pictures import picture_problems
from tasks.release.manifest import build_manifest
from tasks.release.pack import pack_shards

_SHARD, _FEATHER = 100, 6


def seconds_a_sample(folder: Path, count: int) -> tuple[float, float]:
    """Of `pack_shards`, and of the gate's `picture_problems` without the few pixels of a category it measures again."""
    params, cells = make_params(count, _SHARD), solar_cells(200)
    images = (dataclasses.replace(one, image=cells[n % 200]) for n, one in enumerate(make_inputs(1).images))
    inputs = Inputs(tuple(images), (), "0" * 64)
    plans = plan_shards(params, inputs, "model")
    candidates = folder / "candidates"
    for plan in plans:
        write_shard(candidates, plan, [_candidate(spec, inputs.by_id(spec.clean_id).image) for spec in plan.specs], [])
    scores = read_scores(candidates, plans)
    near = scores.assign(nearest_lpips=1.0, nearest_real_lpips=1.0, nearest_real_id="", line_fingerprint="")
    manifest = build_manifest(near)
    start = time.process_time()
    pack_shards(candidates, plans, manifest, folder / "images")
    packed = time.process_time()
    problems = list(picture_problems(folder, manifest.to_pandas(), Inputs((), (), ""), _FEATHER))
    assert not problems, problems
    return (packed - start) / count, (time.process_time() - packed) / count


def _candidate(spec: SampleSpec, clean: Image) -> Candidate:
    mask = _square(spec.seed, clean.shape[0])
    image = clean.copy()
    image[mask] = image[mask] // 2
    return Candidate(
        spec=spec,
        image=image,
        mask=mask,
        effective_mask=mask,
        reference_id="",
        clean_sha256="",
        license="",
        source="",
        prompt="",
        model_sha256="model",
        seconds=0.0,
        scores=dict.fromkeys(SCORES, 0.0),
        logits=np.zeros(1, np.float16),
        descriptor=np.zeros(LENGTH, np.float16),
    )


def _square(seed: int, size: int) -> Mask:
    mask = np.zeros((size, size), bool)
    top, left = np.random.default_rng(seed).integers(0, size - 30, 2)
    mask[top : top + 30, left : left + 30] = True
    return mask
