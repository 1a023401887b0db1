"""The verbs about versions, as a person sees them: publish, verify, pull."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.line.lock import alone
from flows.publish import publish, verify_release
from flows.server.server import prefect_server
from flows.terminal import output, size
from flows.versions.pull import pull
from tasks.candidates.verify import verify_shards
from tasks.contracts import DefectoryError
from tasks.inputs.dataset import read_inputs
from tasks.params import load_params
from tasks.plan import plan_shards
from tasks.synthesis.fitted import fitted_sha256
from tasks.workspace import Workspace


def publish_here(repo: Path, tag: str | None) -> None:
    """Publish; the stages that dvc runs share one Prefect server."""
    with prefect_server():
        made = publish(repo, tag, lambda step: output.print(step, markup=False))
    kind = "new version" if made.is_new else "unchanged version"
    output.print(f"{kind} {made.tag}: pushed {made.pushed_files} files, {size(made.pushed_bytes)}", markup=False)


def verify_here(params: Path, root: Path) -> None:
    """Check candidates and release. Raises DefectoryError naming every damaged or missing shard and sample.

    A damaged shard is no longer taken for done: the next run makes it again, and the release always.
    """
    workspace, wanted = Workspace(root), load_params(params)
    inputs = read_inputs(workspace.inputs)
    plans = plan_shards(wanted, inputs, fitted_sha256(wanted, inputs, workspace.models))
    with alone(root):
        problems = verify_shards(workspace.candidates, plans)
        if problems:
            said = f"{len(problems)} of {len(plans)} shards are not as they should be:"
            raise DefectoryError("\n  ".join([said, *problems]))
        verify_release(workspace.release)
    output.print(f"{len(plans)} shards of candidates and the release are whole")


def pull_here(tag: str, repo: str, destination: Path, endpoint: str | None, categories: Sequence[str]) -> None:
    folder = pull(tag, repo, destination, endpoint, categories)
    part = f", of {', '.join(sorted(set(categories)))} only" if categories else ""
    output.print(f"{tag} is in {folder}{part}", markup=False)
