"""A plan is pure, and a sample in it depends on its own address alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.contracts import CLEAN, TEST, DefectoryError, SampleSpec
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import draw_mask
from tasks.params import CODE_VERSION, Params, load_params
from tasks.plan import ANY_DEFECT, plan_samples, plan_shards
from tasks.synthesis import used_systems
from tests.masks.helpers import image, listed

IMAGES = tuple(
    image(f"{category}/{kind}/{number}")
    for category in ("mono", "poly")
    for kind in (CLEAN, "crack", "stain")
    for number in range(5)
)
INPUTS = listed(IMAGES)

ROOT = Path(__file__).parents[1]
SHIPPED = [ROOT / "params.yaml", *sorted(ROOT.glob("examples/**/*.yaml")), *sorted(ROOT.glob("docs/systems/*.yaml"))]

STRENGTH = (1.5, 4.0)


def _params(**changes: dict[str, Any]) -> Params:
    blocks: dict[str, dict[str, Any]] = {
        "dataset": {"name": "cells", "samples_per_category": 60, "shard_size": 25, "seed": 3},
        "inputs": {"sources": [{"kind": "elpv"}]},
        "adabldm": {"strength": STRENGTH},
    }
    for block, values in changes.items():
        blocks[block] = {**blocks.get(block, {}), **values}
    return Params.model_validate(blocks)


def _by_id(params: Params, inputs: Inputs = INPUTS) -> dict[str, SampleSpec]:
    return {spec.sample_id: spec for spec in plan_samples(params, inputs)}


def test_the_plan_is_complete_and_in_order() -> None:
    samples = plan_samples(_params(), INPUTS)
    assert [spec.sample_id for spec in samples[:2]] == ["mono-000000", "mono-000001"]
    assert Counter(spec.category for spec in samples) == {"mono": 60, "poly": 60}
    assert len({spec.seed for spec in samples}) == 120
    for spec in samples:
        assert spec.clean_id.startswith(f"{spec.category}/{CLEAN}/")
        assert STRENGTH[0] <= spec.strength <= STRENGTH[1]


def test_more_samples_leave_the_earlier_ones_as_they_were() -> None:
    fewer, more = _by_id(_params()), _by_id(_params(dataset={"samples_per_category": 90}))
    assert len(more) == 180
    assert fewer.items() <= more.items()


def test_another_category_leaves_the_others_as_they_were() -> None:
    more = listed((image("bottle/clean/0"), *IMAGES, image("zipper/clean/0")), sha256="other")
    assert _by_id(_params()).items() <= _by_id(_params(), more).items()


def test_the_order_of_images_and_sources_means_nothing() -> None:
    turned = _params(masks={"sources": {"reference": 0.4, "strokes": 0.4, "perlin": 0.2}})
    assert plan_samples(_params(), INPUTS) == plan_samples(turned, listed(IMAGES[::-1]))


def test_shard_size_changes_no_sample_and_no_mask() -> None:
    large, small = (plan_shards(_params(dataset={"shard_size": size}), INPUTS, "m") for size in (60, 7))
    specs = [tuple(spec for shard in shards for spec in shard.specs) for shards in (large, small)]
    assert specs[0] == specs[1] == plan_samples(_params(), INPUTS)
    clean = {each.image_id: each for each in IMAGES}

    def masks(ordered: list[SampleSpec]) -> dict[str, bytes]:
        params = _params().masks
        return {spec.sample_id: draw_mask(spec, clean[spec.clean_id], (), params).mask.tobytes() for spec in ordered}

    some = list(specs[0][:20])
    assert masks(some) == masks(list(reversed(some)))


def test_samples_are_drawn_only_where_they_are_looked_at() -> None:
    huge = plan_shards(_params(dataset={"samples_per_category": 10**9, "shard_size": 10**8}), INPUTS, "model")
    assert [len(shard.specs) for shard in huge] == [10**8] * 20
    assert huge[0].specs[3] == plan_samples(_params(), INPUTS)[3]
    assert [spec.index for spec in huge[11].specs[-2:]] == [2 * 10**8 - 2, 2 * 10**8 - 1]


def test_what_is_drawn_belongs_to_the_code_version() -> None:
    """A fingerprint cannot see how samples are drawn: whoever changes that raises CODE_VERSION, and these figures."""
    assert CODE_VERSION == 5
    assert plan_samples(_params(), INPUTS)[61] == SampleSpec(
        sample_id="poly-000001",
        dataset="cells",
        category="poly",
        defect_type="crack",
        index=1,
        clean_id="poly/clean/3",
        mask_source="reference",
        strength=3.997861618469664,
        seed=6362787651607908360,
        system="adabldm",
    )


def test_the_seed_changes_every_sample() -> None:
    first, second = plan_samples(_params(), INPUTS), plan_samples(_params(dataset={"seed": 4}), INPUTS)
    assert all(one.seed != other.seed for one, other in zip(first, second, strict=True))


def test_draws_cover_the_choices_in_their_shares() -> None:
    params = _params(dataset={"samples_per_category": 3000})
    samples = [spec for spec in plan_samples(params, INPUTS) if spec.category == "mono"]
    sources = Counter(spec.mask_source for spec in samples)
    for source, share in (("perlin", 0.2), ("strokes", 0.4), ("reference", 0.4)):
        assert sources[source] / 3000 == pytest.approx(share, abs=0.04)
    assert set(Counter(spec.defect_type for spec in samples)) == {"crack", "stain"}
    assert min(Counter(spec.clean_id for spec in samples).values()) > 500
    assert np.mean([spec.strength for spec in samples]) == pytest.approx(sum(STRENGTH) / 2, abs=0.06)


def test_draws_are_independent_of_one_another() -> None:
    samples = plan_samples(_params(dataset={"samples_per_category": 3000}), INPUTS)
    strength = [spec.strength for spec in samples]
    assert abs(np.corrcoef(strength, [spec.defect_type == "crack" for spec in samples])[0, 1]) < 0.05
    assert abs(np.corrcoef(strength, [spec.mask_source == "perlin" for spec in samples])[0, 1]) < 0.05


def test_a_share_of_nothing_is_never_drawn() -> None:
    only = _params(masks={"sources": {"perlin": 0.5, "strokes": 0.0}})
    assert {spec.mask_source for spec in plan_samples(only, INPUTS)} == {"perlin"}


def test_the_test_split_is_never_planned() -> None:
    images = (
        image("mono/clean/0"),
        image("mono/clean/1", TEST),
        image("mono/stain/0", TEST),
    )
    samples = plan_samples(_params(), listed(images))
    assert {spec.clean_id for spec in samples} == {"mono/clean/0"}
    assert {spec.defect_type for spec in samples} == {ANY_DEFECT}


def test_shards_are_numbered_by_category() -> None:
    shards = plan_shards(_params(), INPUTS, "model")
    assert [(shard.name, len(shard.specs)) for shard in shards[:4]] == [
        ("mono/00000", 25),
        ("mono/00001", 25),
        ("mono/00002", 10),
        ("poly/00000", 25),
    ]
    assert len({shard.fingerprint for shard in shards}) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": {"branch_probability": 0.1}},
        {"masks": {"sources": {"perlin": 0.5, "strokes": 0.5}}},
        {"adabldm": {"steps": 10}},
        {"adabldm": {"strength": (1.0, 2.0)}},
        {"adabldm": {"masks": {"perlin": 1.0}}},
        {"paint": {"systems": {"draem": 1.0}}},
        {"paint": {"close_up_cells": 0}},
        {"adapt": {"feather": 3}},
        {"score": {"change_threshold": 4.0}},
        {"dataset": {"image_size": 128}},
        {"dataset": {"seed": 4}},
        {"dataset": {"name": "other"}},
        {"inputs": {"sources": [{"kind": "elpv", "foreground": "whole"}]}},
    ],
)
def test_what_changes_bytes_changes_fingerprints(changes: dict[str, Any]) -> None:
    before, after = plan_shards(_params(), INPUTS, "model"), plan_shards(_params(**changes), INPUTS, "model")
    assert not {shard.fingerprint for shard in before} & {shard.fingerprint for shard in after}


def test_inputs_and_model_change_fingerprints() -> None:
    before = plan_shards(_params(), INPUTS, "model")[0].fingerprint
    assert plan_shards(_params(), INPUTS, "other")[0].fingerprint != before
    assert plan_shards(_params(), listed(IMAGES, "other"), "model")[0].fingerprint != before


@pytest.mark.parametrize(
    "changes",
    [
        {"select": {"min_change_inside": 9.0}},
        {"dataset": {"samples_per_category": 70}},
        {"draem": {"strength": (0.5, 0.6)}},
    ],
)
def test_what_changes_no_byte_of_a_shard_leaves_its_fingerprint(changes: dict[str, Any]) -> None:
    before = {shard.name: shard.fingerprint for shard in plan_shards(_params(), INPUTS, "model")}
    after = {shard.name: shard.fingerprint for shard in plan_shards(_params(**changes), INPUTS, "model")}
    for name in ("mono/00000", "mono/00001", "poly/00000", "poly/00001"):
        assert after[name] == before[name]


SYSTEMS = {"adabldm": 0.5, "draem": 0.3, "cutpaste": 0.2}


def _mono(params: Params) -> list[SampleSpec]:
    return [spec for spec in plan_samples(params, INPUTS) if spec.category == "mono"]


def test_systems_share_the_samples_and_each_draws_its_own_strength() -> None:
    params = _params(paint={"systems": SYSTEMS}, dataset={"samples_per_category": 3000})
    samples = _mono(params)
    for name, share in SYSTEMS.items():
        strengths = [spec.strength for spec in samples if spec.system == name]
        low, high = params.system(name).strength
        assert len(strengths) / 3000 == pytest.approx(share, abs=0.04)
        assert low <= min(strengths) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(strengths) <= high


def test_a_systems_own_masks_take_the_place_of_the_common_ones() -> None:
    params = _params(
        paint={"systems": SYSTEMS},
        draem={"masks": {"perlin": 0.5, "strokes": 0.0, "reference": 0.5}},
        cutpaste={"masks": {"boxes": 1.0}},
        masks={"sources": {"strokes": 1.0}},
        dataset={"samples_per_category": 300},
    )
    drawn = {name: {spec.mask_source for spec in _mono(params) if spec.system == name} for name in SYSTEMS}
    assert drawn == {"adabldm": {"strokes"}, "draem": {"perlin", "reference"}, "cutpaste": {"boxes"}}


def test_a_system_more_changes_only_the_samples_that_it_takes() -> None:
    alone, shared = _by_id(_params()), _by_id(_params(paint={"systems": {"adabldm": 0.6, "draem": 0.4}}))
    kept = [spec for spec in shared.values() if spec.system == "adabldm"]
    assert kept
    assert all(spec == alone[spec.sample_id] for spec in kept)
    assert all(spec.clean_id == alone[spec.sample_id].clean_id for spec in shared.values())


def test_bad_plans_are_refused_by_name() -> None:
    with pytest.raises(DefectoryError, match="category mono: no clean image in the train split"):
        plan_samples(_params(), listed((image("mono/clean/0", TEST),)))
    with pytest.raises(DefectoryError, match=r"masks\.sources: expected a share above 0"):
        plan_samples(_params(masks={"sources": {"perlin": 0.0}}), INPUTS)
    with pytest.raises(DefectoryError, match=r"draem\.masks: expected a share above 0"):
        plan_samples(_params(paint={"systems": {"draem": 1.0}}, draem={"masks": {"perlin": 0.0}}), INPUTS)
    with pytest.raises(DefectoryError, match=r"paint\.systems: expected a share above 0"):
        plan_samples(_params(paint={"systems": {"draem": 0.0}}), INPUTS)


@pytest.mark.parametrize("path", SHIPPED)
def test_every_params_file_that_is_shipped_can_be_read(path: Path) -> None:
    assert used_systems(load_params(path))
