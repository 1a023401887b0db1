"""The plan: every sample and every shard of a dataset, known before anything is made.

In: params and inputs. Out: SampleSpecs and ShardPlans. Pure, and fast enough to be made anew whenever it is needed:
nobody stores a plan. A sample's spec depends on its own address and its category's images alone, so more samples,
more categories or another shard size leave it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeVar

from tasks.contracts import TRAIN, DefectoryError, SampleSpec, ShardPlan
from tasks.inputs.store import Inputs
from tasks.params import Params, fingerprint
from tasks.seeds import derive, seed_of

CODE_VERSION = 4
"""Raised whenever the code of a station changes the bytes of a shard, so that old shards are made again."""

ANY_DEFECT = "defect"
"""The defect type of samples in a category without a defect to learn from."""

_Item = TypeVar("_Item")
_FIELDS = tuple(field.name for field in fields(SampleSpec))
_values_of = attrgetter(*_FIELDS)
"""What asdict would say of a spec: that copies every value, half of the time of a whole plan."""


def plan_samples(params: Params, inputs: Inputs) -> tuple[SampleSpec, ...]:
    """The specs of all samples, by category and index.

    Raises DefectoryError for a category without a clean train image and for shares of mask sources that are all 0.
    """
    return tuple(spec for category in inputs.categories for spec in _plan_category(params, inputs, category))


def plan_shards(params: Params, inputs: Inputs, model_sha256: str) -> tuple[ShardPlan, ...]:
    """All samples in shards of `dataset.shard_size`, numbered from 0 in each category, each with its fingerprint.

    The fingerprint leaves out what acts after painting (`select`) and what the model's hash stands for, and takes
    the dataset's size only through the shard's own specs. It keeps `inputs`, for licences are no pixels.
    """
    return tuple(each_shard(params, inputs, model_sha256))


def each_shard(params: Params, inputs: Inputs, model_sha256: str) -> Iterator[ShardPlan]:
    """The same, one after the other, a category's as soon as it is planned."""
    shared, size = line_fingerprint(params, inputs, model_sha256), params.dataset.shard_size
    for category in inputs.categories:
        specs = _plan_category(params, inputs, category)
        for start in range(0, len(specs), size):
            yield _shard(category, start // size, tuple(specs[start : start + size]), shared)


def _shard(category: str, number: int, specs: tuple[SampleSpec, ...], shared: str) -> ShardPlan:
    plain = [dict(zip(_FIELDS, _values_of(spec), strict=True)) for spec in specs]
    return ShardPlan(category, number, specs, fingerprint(shared, plain))


def line_fingerprint(params: Params, inputs: Inputs, model_sha256: str) -> str:
    """Of everything that touches a sample's bytes but its spec: two equal ones make the same image of one spec."""
    systems = [params.system(name) for name, _ in shares_of(params.paint.systems, "paint.systems")]
    blocks = (params.inputs, params.masks, params.paint, *systems, params.adapt, params.score)
    return fingerprint(
        CODE_VERSION, params.dataset.image_size, params.dataset.threads, *blocks, inputs.sha256, model_sha256
    )


def _plan_category(params: Params, inputs: Inputs, category: str) -> list[SampleSpec]:
    clean_ids = sorted(image.image_id for image in inputs.clean(category, TRAIN))
    if not clean_ids:
        raise DefectoryError(
            f"category {category}: no clean image in the train split to paint on; "
            "add clean images or raise inputs.clean_train_share"
        )
    types = sorted({image.defect_type for image in inputs.defects(category, TRAIN)}) or [ANY_DEFECT]
    shares = _shares(params)
    count = params.dataset.samples_per_category
    return [_spec(params, category, index, clean_ids, types, shares) for index in range(count)]


def _spec(
    params: Params,
    category: str,
    index: int,
    clean_ids: list[str],
    types: list[str],
    shares: _Shares,
) -> SampleSpec:
    seed = seed_of(params.dataset.seed, params.dataset.name, category, index, "sample")
    system = pick_by_share(shares.systems, _uniform(seed, "system"))
    low, high = params.system(system).strength
    return SampleSpec(
        sample_id=f"{category}-{index:06d}",
        dataset=params.dataset.name,
        category=category,
        defect_type=_pick(types, _uniform(seed, "defect_type")),
        index=index,
        clean_id=_pick(clean_ids, _uniform(seed, "clean")),
        mask_source=pick_by_share(shares.masks[system], _uniform(seed, "mask_source")),
        strength=low + (high - low) * _uniform(seed, "strength"),
        seed=seed,
        system=system,
    )


@dataclass(frozen=True)
class _Shares:
    systems: list[tuple[str, float]]
    masks: dict[str, list[tuple[str, float]]]
    """Of mask sources, by system."""


def _shares(params: Params) -> _Shares:
    systems = shares_of(params.paint.systems, "paint.systems")
    return _Shares(systems, {name: _mask_sources(params, name) for name, _ in systems})


def _uniform(seed: int, purpose: str) -> float:
    """A number in [0, 1) straight from the address: a generator for one number each would take most of the time."""
    return (derive(seed, purpose) >> 10) / 2**53


def _pick(items: Sequence[_Item], uniform: float) -> _Item:
    return items[int(uniform * len(items))]


def _mask_sources(params: Params, system: str) -> list[tuple[str, float]]:
    own = params.system(system).masks
    return shares_of(own, f"{system}.masks") if own else shares_of(params.masks.sources, "masks.sources")


def shares_of(shares: Mapping[Any, float], key: str) -> list[tuple[str, float]]:
    """Names and shares that sum to 1, by name, so that their order in params.yaml means nothing; 0 is left out.

    Raises DefectoryError naming `key` where no share is above 0.
    """
    total = sum(shares.values())
    if total <= 0:
        raise DefectoryError(f"{key}: expected a share above 0, got {dict(shares)}; give one a share, such as 1")
    return [(name, share / total) for name, share in sorted(shares.items()) if share > 0]


def pick_by_share(shares: Sequence[tuple[str, float]], uniform: float) -> str:
    reached = 0.0
    for name, share in shares:
        reached += share
        if uniform < reached:
            return name
    return shares[-1][0]
