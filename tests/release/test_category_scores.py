"""IC-LPIPS of a category against clusters worked by hand, and the gate that holds categories to their minima."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.candidates.read import read_scores
from tasks.candidates.write import write_shard
from tasks.contracts import DefectoryError
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.plan import plan_shards
from tasks.release.build import build_release
from tasks.release.diversity import diversity_of
from tests.factories import Workspace, darken, draw_stroke, make_inputs, make_params, make_shard
from tests.quality.test_ic_lpips import lpips

SAMPLES = 7


def with_scores(params: Params, minima: dict[str, float], images: int = 100) -> Params:
    select = params.select.model_copy(update={"min_category_scores": minima, "ic_lpips_images": images})
    return params.model_copy(update={"select": select})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """`mono` has two real cracks of the train split, `poly` has no real defect."""
    params, inputs = make_params(64, samples=SAMPLES), make_inputs(64)
    mono = [image for image in inputs.images if image.category == "mono"]
    cracks = [
        dataclasses.replace(
            mono[number],
            image_id=f"mono/crack/{number}",
            defect_type="crack",
            image=darken(mono[number].image, draw_stroke(64, number), 2, 0.7),
        )
        for number in range(2)
    ]
    inputs = Inputs((*inputs.images, *cracks), (), inputs.sha256)
    made = Workspace(tmp_path_factory.mktemp("work"), params, inputs, plan_shards(params, inputs, "model"))
    for plan in made.plans:
        write_shard(made.candidates, plan, *make_shard(plan, params, inputs))
    return made


def images_of(workspace: Workspace, category: str) -> tuple[pd.DataFrame, list[np.ndarray]]:
    scores = read_scores(workspace.candidates, workspace.plans)
    made = [one for plan in workspace.plans for one in make_shard(plan, workspace.params, workspace.inputs)[0]]
    return scores, [one.image for one in made if one.spec.category == category]


def test_the_value_is_the_mean_distance_inside_clusters_around_real_defects(workspace: Workspace) -> None:
    scores, images = images_of(workspace, "mono")
    params = with_scores(workspace.params, {"ic_lpips_alexnet": 0.0})
    figures = diversity_of(params, scores, workspace.inputs, workspace.candidates)
    cracks = [image.image for image in workspace.inputs.defects("mono", "train")]
    nearest = [int(np.argmin([lpips(image, crack) for crack in cracks])) for image in images]
    clusters = [[image for image, near in zip(images, nearest, strict=True) if near == number] for number in (0, 1)]
    means = [np.mean([lpips(*pair) for pair in combinations(of, 2)]) for of in clusters if len(of) > 1]
    assert figures["mono"] == {
        "ic_lpips_alexnet": pytest.approx(np.mean(means), abs=1e-4),
        "ic_lpips_alexnet_images": SAMPLES,
    }
    assert figures["poly"] == {"ic_lpips_alexnet": None, "ic_lpips_alexnet_images": 0}


def test_no_more_samples_are_compared_than_asked_for_and_none_where_nobody_asks(workspace: Workspace) -> None:
    scores, _ = images_of(workspace, "mono")
    few = with_scores(workspace.params, {"ic_lpips_alexnet": 0.0}, images=3)
    figures = diversity_of(few, scores, workspace.inputs, workspace.candidates)
    assert figures["mono"]["ic_lpips_alexnet_images"] == 3
    inception = with_scores(workspace.params, {"is_efficientnet_lite0": 1.0})
    assert diversity_of(inception, scores, workspace.inputs, workspace.candidates) == {}


@pytest.mark.parametrize(
    ("minima", "said"),
    [
        ({"is_efficientnet_lite0": 99.0}, r"category mono has the is_efficientnet_lite0 \d\.\d+, .* at least 99"),
        ({"is_inception_v3": 1.0}, r"category mono has no is_inception_v3.*score.classifier is efficientnet_lite0"),
        ({"ic_lpips_alexnet": 2.0}, r"category mono has the ic_lpips_alexnet 0\.\d+, .* at least 2"),
        ({"ic_lpips_alexnet": 1e-6}, r"category poly has no ic_lpips_alexnet.*a real defect of the train split"),
    ],
)
def test_a_category_below_its_minimum_is_refused_by_name(
    workspace: Workspace, tmp_path: Path, minima: dict[str, float], said: str
) -> None:
    params = with_scores(workspace.params, minima)
    with pytest.raises(DefectoryError, match=said):
        build_release(params, workspace.inputs, workspace.plans, workspace.candidates, tmp_path / "out", "make")
    assert not (tmp_path / "out").exists()


def test_minima_that_are_met_or_zero_refuse_nothing_and_are_reported(workspace: Workspace, tmp_path: Path) -> None:
    params = with_scores(workspace.params, {"is_efficientnet_lite0": 1.0, "ic_lpips_alexnet": 0.0})
    out = tmp_path / "out"
    report = build_release(params, workspace.inputs, workspace.plans, workspace.candidates, out, "make")
    value = report.metrics["categories"]["mono"]["ic_lpips_alexnet"]
    assert value > 0
    assert str(value) in (out / "report.html").read_text()
