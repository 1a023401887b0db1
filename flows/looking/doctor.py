"""Is everything here that a run and a publication need? Each check says what it found, or what to do.

In: params and folders. Out: one Finding a check, in a fixed order; nothing is made or changed, but for a probe
object in the store, which is deleted again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.looking.estimate import estimate
from flows.looking.overview import look
from flows.policy import device
from flows.terminal import size
from flows.versions.repository import has_identity
from tasks.contracts import DefectoryError
from tasks.inputs.readers import list_source
from tasks.networks.classifiers import load_classifier
from tasks.networks.device import describe_device
from tasks.networks.weights import alexnet_lpips_weights
from tasks.params import load_params
from tasks.synthesis import used_systems
from tasks.synthesis.fitting import check_systems
from tasks.versions.remote import remote_of
from tasks.workspace import Workspace

_SPARE_BYTES = 1_000_000_000
"""For models, logs and dvc's own files, besides the images."""


@dataclass(frozen=True)
class Finding:
    check: str
    ok: bool
    text: str


def examine(params: Path, workspace: Workspace, repo: Path) -> Iterator[Finding]:
    """Run every check, whatever the others have found."""
    checks: dict[str, Callable[[], str]] = {
        "params": lambda: _params(params),
        "sources": lambda: _sources(params),
        "weights": lambda: _weights(params),
        "device": lambda: describe_device(device()),
        "disk": lambda: _disk(params, workspace),
        "git": lambda: _git(repo),
        "dvc remote": lambda: remote_of(repo).url,
        "store": lambda: _store(repo),
    }
    for name, check in checks.items():
        try:
            yield Finding(name, True, check())
        except (DefectoryError, OSError) as error:
            yield Finding(name, False, str(error))


def _params(params: Path) -> str:
    return f"{params}: dataset {load_params(params).dataset.name}"


def _sources(params: Path) -> str:
    listings = [list_source(source, params.parent) for source in load_params(params).inputs.sources]
    return f"{sum(len(listing.images) for listing in listings)} images in {len(listings)} sources"


def _weights(params: Path) -> str:
    wanted = load_params(params)
    alexnet_lpips_weights()
    load_classifier(wanted.score.classifier)
    check_systems(wanted)
    systems = used_systems(wanted)
    classifier = "no classifier" if wanted.score.classifier == "none" else wanted.score.classifier
    return f"LPIPS, {classifier}, systems {', '.join(systems)}"


def _disk(params: Path, workspace: Workspace) -> str:
    wanted = load_params(params)
    needed = estimate(wanted, look(wanted, params.parent, workspace), workspace).bytes + _SPARE_BYTES
    existing = next(
        folder for folder in (workspace.root.absolute(), *workspace.root.absolute().parents) if folder.exists()
    )
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DefectoryError(
            f"{existing}: {size(free)} free, about {size(needed)} needed; free some, or give --root on another disk"
        )
    return f"{size(free)} free, about {size(needed)} needed"


def _git(repo: Path) -> str:
    if not has_identity(repo):
        raise DefectoryError("git does not know who you are: git config --global user.email you@example.org")
    return "versions can be committed"


def _store(repo: Path) -> str:
    store = remote_of(repo)
    store.probe()
    return f"{store.endpoint or 'AWS'} takes, returns and deletes an object"
