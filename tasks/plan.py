"""The plan: every sample and every shard of a dataset, known before anything is made.

In: params and inputs. Out: ShardPlans, whose SampleSpecs are drawn when they are looked at. Pure, and made anew
whenever it is needed: nobody stores a plan, which costs as much as its shards, however many samples they have. A
sample's spec depends on its own address and its category's images alone, so more samples, more categories or another
shard size leave it as it was.

A part of a plan is for one of several workers. Nobody hands its shards out: the plan is the same wherever it is made,
so every worker finds its own, and a SLURM array, `xargs` or a queue of any kind will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, overload

from tasks.contracts import TRAIN, DefectoryError, SampleSpec, ShardPlan
from tasks.inputs.dataset import Inputs
from tasks.params import CODE_VERSION, Params, fingerprint
from tasks.seeds import derive, seed_of

ANY_DEFECT = "defect"
"""The defect type of samples in a category without a defect to learn from."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Part:
    """One of `count` parts, which together have every shard once. Raises DefectoryError where `index` is not in it."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise DefectoryError(
                f"part {self.index} of {self.count}: expected --shard-index from 0 to below --shard-count"
            )

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def of(self, plans: Sequence[ShardPlan]) -> tuple[ShardPlan, ...]:
        """Every `count`-th shard, so that parts differ by one shard at most and each has some of every category."""
        return tuple(plans[self.index :: self.count])


WHOLE_PLAN = Part()


def plan_samples(params: Params, inputs: Inputs) -> tuple[SampleSpec, ...]:
    """The specs of all samples, by category and index.

    Raises DefectoryError for a category without a clean train image and for shares of mask sources that are all 0.
    """
    return tuple(spec for category in _categories(params, inputs) for spec in _samples(params, category))


def plan_shards(params: Params, inputs: Inputs, model_sha256: str) -> tuple[ShardPlan, ...]:
    """All samples in shards of `dataset.shard_size`, numbered from 0 in each category, each with its fingerprint.

    The fingerprint leaves out what acts after painting (`select`) and what the model's hash stands for, and takes
    the dataset's size only through the shard's own samples. It keeps `inputs`, for licences are no pixels. Raises as
    `plan_samples` does.
    """
    shared = line_fingerprint(params, inputs, model_sha256)
    return tuple(shard for category in _categories(params, inputs) for shard in _shards(params, category, shared))


def _shards(params: Params, category: _Category, shared: str) -> Iterator[ShardPlan]:
    made_from, samples = fingerprint(shared, asdict(category)), _samples(params, category)
    size = params.dataset.shard_size
    for number, start in enumerate(range(0, len(samples), size)):
        specs = samples[start : start + size]
        yield ShardPlan(category.name, number, specs, fingerprint(made_from, start, len(specs)))


def line_fingerprint(params: Params, inputs: Inputs, model_sha256: str) -> str:
    """Of everything that touches a sample's bytes but its spec: two equal ones make the same image of one spec."""
    systems = [params.system(name) for name, _ in shares_of(params.paint.systems, "paint.systems")]
    blocks = (params.inputs, params.masks, params.paint, *systems, params.adapt, params.score)
    return fingerprint(
        CODE_VERSION, params.dataset.image_size, params.dataset.threads, *blocks, inputs.sha256, model_sha256
    )


@dataclass(frozen=True)
class _System:
    name: str
    masks: tuple[tuple[str, float], ...]
    """Mask sources and their shares."""
    strength: tuple[float, float]


@dataclass(frozen=True)
class _Category:
    """All that a category's specs are drawn from, so that its fingerprint stands for specs that nobody has drawn."""

    dataset: str
    seed: int
    name: str
    clean_ids: tuple[str, ...]
    defect_types: tuple[str, ...]
    systems: tuple[tuple[_System, float], ...]

    def draw(self, index: int) -> SampleSpec:
        seed = seed_of(self.seed, self.dataset, self.name, index, "sample")
        system = _pick_by_share(self.systems, _uniform(seed, "system"))
        low, high = system.strength
        return SampleSpec(
            sample_id=f"{self.name}-{index:06d}",
            dataset=self.dataset,
            category=self.name,
            defect_type=_pick(self.defect_types, _uniform(seed, "defect_type")),
            index=index,
            clean_id=_pick(self.clean_ids, _uniform(seed, "clean")),
            mask_source=_pick_by_share(system.masks, _uniform(seed, "mask_source")),
            strength=low + (high - low) * _uniform(seed, "strength"),
            seed=seed,
            system=system.name,
        )


@dataclass(frozen=True)
class _Samples(Sequence[SampleSpec]):
    """Specs that are drawn when they are looked at, each time anew: 10 us each, and nothing to hold or to send."""

    category: _Category
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> SampleSpec: ...
    @overload
    def __getitem__(self, index: slice) -> _Samples: ...
    def __getitem__(self, index: int | slice) -> SampleSpec | _Samples:
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        return self.category.draw(self.indices[index])


def _samples(params: Params, category: _Category) -> _Samples:
    return _Samples(category, range(params.dataset.samples_per_category))


def _categories(params: Params, inputs: Inputs) -> Iterator[_Category]:
    shares = shares_of(params.paint.systems, "paint.systems")
    systems = tuple((_system(params, name), share) for name, share in shares)
    for name in inputs.categories:
        clean_ids = tuple(sorted(image.image_id for image in inputs.clean(name, TRAIN)))
        if not clean_ids:
            raise DefectoryError(
                f"category {name}: no clean image in the train split to paint on; "
                "add clean images or raise inputs.clean_train_share"
            )
        types = tuple(sorted({image.defect_type for image in inputs.defects(name, TRAIN)})) or (ANY_DEFECT,)
        yield _Category(params.dataset.name, params.dataset.seed, name, clean_ids, types, systems)


def _system(params: Params, name: str) -> _System:
    own = params.system(name).masks
    masks = shares_of(own, f"{name}.masks") if own else shares_of(params.masks.sources, "masks.sources")
    return _System(name, tuple(masks), params.system(name).strength)


def _uniform(seed: int, purpose: str) -> float:
    """A number in [0, 1) straight from the address: a generator for one number each would take most of the time."""
    return (derive(seed, purpose) >> 10) / 2**53


def _pick(items: Sequence[_Item], uniform: float) -> _Item:
    return items[int(uniform * len(items))]


def shares_of(shares: Mapping[Any, float], key: str) -> list[tuple[str, float]]:
    """Names and shares that sum to 1, by name, so that their order in params.yaml means nothing; 0 is left out.

    Raises DefectoryError naming `key` where no share is above 0.
    """
    total = sum(shares.values())
    if total <= 0:
        raise DefectoryError(f"{key}: expected a share above 0, got {dict(shares)}; give one a share, such as 1")
    return [(name, share / total) for name, share in sorted(shares.items()) if share > 0]


def _pick_by_share(shares: Sequence[tuple[_Item, float]], uniform: float) -> _Item:
    reached = 0.0
    for item, share in shares:
        reached += share
        if uniform < reached:
            return item
    return shares[-1][0]
