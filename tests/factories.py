"""Small inputs, plans and candidates for tests of packing and release: real solar cells with a drawn dark stroke.

No network paints here. The scores that need one are drawn from the sample's seed; those that measure a paste are real.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import elpv_dataset
import numpy as np
import PIL.Image
from PIL import ImageDraw

from tasks.candidates.write import write_shard
from tasks.contracts import (
    CLEAN,
    TEST,
    TRAIN,
    Candidate,
    Failure,
    Image,
    InputImage,
    Mask,
    SampleSpec,
    ShardPlan,
    SkippedInput,
)
from tasks.inputs.dataset import Inputs
from tasks.params import DatasetParams, InputsParams, Params, SelectParams, SourceParams
from tasks.plan import plan_shards
from tasks.quality.change import change, distance_to, effective_mask, max_where, mean_where

LICENSE, SOURCE = "CC-BY-NC-SA-4.0", "elpv-dataset"
_CELLS = sorted((Path(elpv_dataset.__file__).parent / "data" / "images").glob("*.png"))


def make_params(size: int = 96, samples: int = 8, shard_size: int = 4, **select: float) -> Params:
    return Params(
        dataset=DatasetParams(
            name="cells", image_size=size, samples_per_category=samples, shard_size=shard_size, seed=3
        ),
        inputs=InputsParams(sources=[SourceParams(kind="elpv", license=LICENSE)]),
        select=SelectParams(**select),
    )


def make_inputs(size: int = 96, categories: tuple[str, ...] = ("mono", "poly"), cleans: int = 4) -> Inputs:
    """`cleans` clean cells of the train split and one of the test split for each category, and one skipped file."""
    images = [
        _input(category, number, size, TEST if number == cleans else TRAIN, offset + number)
        for offset, category in zip(range(0, 1000, 100), categories, strict=False)
        for number in range(cleans + 1)
    ]
    skipped = (SkippedInput("images/broken.png", SOURCE, "truncated after 12 bytes"),)
    return Inputs(tuple(images), skipped, sha256="0" * 64)


@dataclass(frozen=True)
class Workspace:
    """Finished candidates on disk, and what they were made from."""

    root: Path
    params: Params
    inputs: Inputs
    plans: tuple[ShardPlan, ...]

    @property
    def candidates(self) -> Path:
        return self.root / "candidates"

    @property
    def release(self) -> Path:
        return self.root / "release"


def make_workspace(
    root: Path, params: Params | None = None, failed: frozenset[str] = frozenset(), faint: frozenset[str] = frozenset()
) -> Workspace:
    """Writes all candidates. Samples of `failed` failed to be painted; the strokes of `faint` are hardly to be seen."""
    params = params or make_params()
    inputs = make_inputs(params.dataset.image_size)
    workspace = Workspace(root, params, inputs, plan_shards(params, inputs, "model"))
    for plan in workspace.plans:
        write_shard(workspace.candidates, plan, *make_shard(plan, params, inputs, failed, faint))
    return workspace


def make_shard(
    plan: ShardPlan,
    params: Params,
    inputs: Inputs,
    failed: frozenset[str] = frozenset(),
    faint: frozenset[str] = frozenset(),
) -> tuple[list[Candidate], list[Failure]]:
    painted = [spec for spec in plan.specs if spec.sample_id not in failed]
    candidates = [make_candidate(spec, params, inputs, 0.02 if spec.sample_id in faint else 0.6) for spec in painted]
    return candidates, [
        Failure(s, "masks", "no place for a mask <50 tries>") for s in plan.specs if s.sample_id in failed
    ]


def make_candidate(spec: SampleSpec, params: Params, inputs: Inputs, darkness: float = 0.6) -> Candidate:
    """The clean cell of `spec` with a stroke that takes away so much of the light."""
    clean = inputs.by_id(spec.clean_id)
    mask = draw_stroke(clean.image.shape[0], spec.seed)
    image = darken(clean.image, mask, params.adapt.feather, darkness)
    generator = np.random.default_rng(spec.seed)
    effective, scores = _measure(image, clean.image, mask, params, generator)
    return Candidate(
        spec=spec,
        image=image,
        mask=mask,
        effective_mask=effective,
        reference_id="",
        clean_sha256=clean.sha256,
        license=clean.license,
        source=clean.source,
        prompt=f"a {spec.category} with {spec.defect_type}",
        model_sha256="model",
        seconds=float(generator.random()),
        scores=scores,
        logits=generator.normal(size=10).astype(np.float16),
        descriptor=generator.normal(size=256).astype(np.float16),
    )


def draw_stroke(size: int, seed: int) -> Mask:
    """A crooked line across the middle of the image."""
    points = np.random.default_rng(seed).uniform(0.2, 0.8, (4, 2)) * size
    picture = PIL.Image.new("1", (size, size))
    ImageDraw.Draw(picture).line([(float(x), float(y)) for x, y in points], fill=1, width=max(2, size // 48))
    return np.asarray(picture)


def darken(clean: Image, mask: Mask, feather: int, darkness: float) -> Image:
    """Darker inside the mask, fading to the clean image, bit for bit, at `feather` pixels from it."""
    weight = np.clip(1 - distance_to(mask) / max(feather, 1), 0, 1)[..., None] * darkness
    return np.where(weight > 0, np.round(clean * (1 - weight)), clean).astype(np.uint8)


def _measure(
    image: Image, clean: Image, mask: Mask, params: Params, generator: np.random.Generator
) -> tuple[Mask, dict[str, float]]:
    difference, reach = change(image, clean), distance_to(mask) <= params.adapt.feather
    effective = effective_mask(difference, reach, params.score.change_threshold)
    visible = mean_where(difference, mask)
    scores = {
        "lpips_to_clean": visible / 300,
        "lpips_inside": visible / 100,
        "change_inside": visible,
        "outside_max_abs": max_where(difference, ~reach),
        "outside_mean_abs": mean_where(difference, ~reach),
        "seam_contrast": float(generator.uniform(0.8, 1.4)),
        "class_confidence": float(generator.uniform(0.1, 0.9)),
        "class_entropy": float(generator.uniform(1, 5)),
        "intended_area": float(mask.mean()),
        "effective_area": float(effective.mean()),
        "effective_share": mean_where(effective, mask),
    }
    return effective, scores


def _input(category: str, number: int, size: int, split: str, cell: int) -> InputImage:
    image = _cell(cell, size)
    return InputImage(
        image_id=f"{category}/{CLEAN}/{number:04d}",
        category=category,
        defect_type=CLEAN,
        split=split,
        group=f"{category}-{number}",
        image=image,
        mask=None,
        foreground=np.ones((size, size), bool),
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        path=f"images/{number:04d}.png",
        source=SOURCE,
        license=LICENSE,
    )


@cache
def _cell(number: int, size: int) -> Image:
    with PIL.Image.open(_CELLS[number]) as picture:
        grey = np.asarray(picture.convert("L").resize((size, size), PIL.Image.Resampling.LANCZOS))
    return np.repeat(grey[..., None], 3, axis=2)
