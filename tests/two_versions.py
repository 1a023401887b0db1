"""A repository with two published versions of real release folders, whose difference is known sample by sample.

cells-v1: 4 samples in each of two categories, of which mono-000001 is rejected. cells-v2: 6 in each; mono-000001 is
accepted, mono-000002 is rejected, poly-000003 fails, poly-000000 has a darker stroke, and min_change_inside is 5.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.publish import publish
from flows.versions.repository import git, init_workspace
from tasks.candidates.write import write_shard
from tasks.contracts import ShardPlan
from tasks.params import Params
from tasks.release.build import build_release
from tests.conftest import KEY
from tests.factories import Workspace, make_candidate, make_params, make_workspace

STAGES = """\
stages:
  release:
    cmd: rm -rf data/release && mkdir -p data && cp -r made data/release
    deps: [made]
    outs: [data/release]
"""
PARAMS = """\
dataset: {{name: cells, samples_per_category: {samples}}}
inputs: {{sources: [{{kind: elpv}}]}}
select: {{min_change_inside: {threshold}}}
"""


def publish_two(folder: Path, endpoint: str) -> Path:
    """Returns the repository; the first version's release is beside it, in `v1`, the second's in `v2`."""
    repo = folder / "workspace"
    repo.mkdir()
    (repo / "dvc.yaml").write_text(STAGES)
    releases = make_releases(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
        for name, value in KEY.environment().items():
            patch.setenv(name, value)
        for number, (release, samples, threshold) in enumerate(zip(releases, (4, 6), (6.0, 5.0), strict=True)):
            (repo / "params.yaml").write_text(PARAMS.format(samples=samples, threshold=threshold))
            shutil.rmtree(repo / "made", ignore_errors=True)
            shutil.copytree(release, repo / "made")
            if number:
                git(repo, "commit", "-qam", f"{samples} samples")
            else:
                init_workspace(repo, "s3://datasets/two-versions", endpoint)
            publish(repo)
    return repo


def make_releases(folder: Path) -> tuple[Path, Path]:
    """The two release folders, with none of the repository around them."""
    old = make_params(64, samples=4, shard_size=2, max_failed_share=0.5)
    new = make_params(64, samples=6, shard_size=2, max_failed_share=0.5, min_change_inside=5.0)
    first = make_workspace(folder / "first", old, faint=frozenset({"mono-000001"}))
    second = make_workspace(folder / "second", new, frozenset({"poly-000003"}), faint=frozenset({"mono-000002"}))
    [plan] = [plan for plan in second.plans if plan.name == "poly/00000"]
    _darken_first(second, plan, new)
    return _release(first, folder / "v1"), _release(second, folder / "v2")


def _darken_first(workspace: Workspace, plan: ShardPlan, params: Params) -> None:
    darkness = [0.9, 0.6]
    made = [make_candidate(spec, params, workspace.inputs, d) for spec, d in zip(plan.specs, darkness, strict=True)]
    write_shard(workspace.candidates, plan, made, [])


def _release(workspace: Workspace, out: Path) -> Path:
    build_release(workspace.params, workspace.inputs, workspace.plans, workspace.candidates, out, "defectory run")
    return out
