"""The whole promise on real data: make a dataset, publish it to a real S3 store, pull it back, compare.

`python -m flows.demo [--params FILE] [--workspace DIR]`. In: params. Out, beside one another: `workspace` (a git
and dvc repository of its own: the clone that this runs from is not touched), `store` (the S3 server's data) and
`pulled` (a fresh clone of the published version). Run again, it does only what is missing.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import yaml

from flows.options import DeviceOption
from flows.publish import Publication, publish
from flows.server.local_store import BUCKET, local_store, store_key
from flows.server.server import prefect_server
from flows.terminal import duration, output, size, verb
from flows.versions.pull import pull
from flows.versions.repository import init_workspace
from tasks.contracts import DefectoryError
from tasks.params import load_params

_PROJECT = Path(__file__).resolve().parent.parent
_REMOTE = f"s3://{BUCKET}/defectory"


@verb
def main(
    params: Annotated[Path, typer.Option(help="What to make.")] = _PROJECT / "params.yaml",
    workspace: Annotated[Path, typer.Option(help="Where to make it.")] = Path("demo/workspace"),
    device: DeviceOption = None,
) -> None:
    """Make, publish and pull back a dataset."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in order, as Ctrl-C does
    demo(params, workspace)


def demo(params: Path, workspace: Path) -> None:
    """Raises DefectoryError when a step fails, or when what was pulled is not what was published."""
    store, pulled = workspace.parent / "store", workspace.parent / "pulled"
    lay_out(params, workspace)
    key = store_key(store)
    os.environ.update(key.environment())
    os.environ.pop("AWS_PROFILE", None)  # the user's own account has no part in this
    with local_store(store, key.access_key, key.secret_key) as endpoint:
        init_workspace(workspace, _REMOTE, endpoint)
        with prefect_server():
            made = publish(workspace, announce=_announce)
        _announce("pull")
        shutil.rmtree(pulled, ignore_errors=True)
        release = pull(made.tag, workspace, pulled, endpoint)
    check_equal(workspace / "data" / "release", release)
    _report(made, release)


def lay_out(params: Path, workspace: Path) -> None:
    """Copy what says what is wanted; the roots of its sources stay where they are."""
    load_params(params)
    workspace.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_PROJECT / "dvc.yaml", workspace / "dvc.yaml")
    text = params.read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    moved = [source for source in wanted["inputs"]["sources"] if source.get("root")]
    for source in moved:
        source["root"] = os.path.relpath(params.parent / source["root"], workspace)
    (workspace / "params.yaml").write_text(yaml.safe_dump(wanted, sort_keys=False) if moved else text, encoding="utf-8")


def check_equal(published: Path, pulled: Path) -> None:
    """Raises DefectoryError naming the files whose bytes differ, or that only one folder has."""
    names = {path.relative_to(folder) for folder in (published, pulled) for path in folder.rglob("*") if path.is_file()}
    _, differing, missing = filecmp.cmpfiles(published, pulled, sorted(map(str, names)), shallow=False)
    if differing or missing:
        raise DefectoryError(f"{pulled} is not what was published: {', '.join([*differing, *missing][:10])}")
    output.print(f"{len(names)} files pulled into a fresh clone: equal, byte for byte")


def _announce(step: str) -> None:
    output.print(f"- {step}", markup=False, style="bold")


def _report(made: Publication, release: Path) -> None:
    say: Callable[[str], None] = lambda line: output.print(line, markup=False)  # noqa: E731
    kind = "released" if made.is_new else "unchanged since"
    say(f"{kind} {made.tag}: {made.pushed_files} files pushed, {size(made.pushed_bytes)}")
    say(", ".join(f"{step} {duration(seconds)}" for step, seconds in made.seconds.items()))
    for what, pattern in (("contact sheet", "sheets/*.png"), ("card", "README.md"), ("report", "report.html")):
        for path in sorted(release.glob(pattern)):
            say(f"{what}: {path}")


if __name__ == "__main__":
    typer.run(main)
