"""`defectory`: the verbs of the line. Each does only what is missing, and ends with 0 or with one clear line.

Whatever takes long to import is imported by the verb that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.machines import verbs as machines
from flows.options import DeviceOption, ParamsOption, RepoOption, RootOption
from flows.terminal import output, verb
from tasks.workspace import PARAMS, ROOT

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A few clean photographs in, a versioned dataset of synthetic industrial anomalies with pixel masks out.",
)


@app.command()
@verb
def plan(params: ParamsOption = PARAMS, root: RootOption = ROOT, device: DeviceOption = None) -> None:
    """Show what would be made, how long it takes and how much disk it needs."""
    from flows.looking import tables

    tables.show_plan(params, root)


@app.command()
@verb
def run(params: ParamsOption = PARAMS, root: RootOption = ROOT, device: DeviceOption = None) -> None:
    """Run the whole line: inputs, train, generate, release."""
    from flows.factory import factory
    from flows.line.stage import recorded

    recorded(factory, params, root)


@app.command()
@verb
def status(params: ParamsOption = PARAMS, root: RootOption = ROOT) -> None:
    """Show what is done and what is missing."""
    from flows.looking import tables

    tables.show_status(params, root)


@app.command()
@verb
def resume(params: ParamsOption = PARAMS, root: RootOption = ROOT, device: DeviceOption = None) -> None:
    """Finish an interrupted run without reading the inputs again."""
    from flows.factory import resume as rest_of_the_line
    from flows.line.stage import recorded

    recorded(rest_of_the_line, params, root)


@app.command()
@verb
def release(params: ParamsOption = PARAMS, root: RootOption = ROOT) -> None:
    """Select anew from the candidates, without painting: after a change of the thresholds, for example."""
    from flows.line.stage import recorded
    from flows.release import release as select_and_describe

    recorded(select_and_describe, params, root, uses_model=False)


@app.command()
@verb
def evaluate(params: ParamsOption = PARAMS, root: RootOption = ROOT, device: DeviceOption = None) -> None:
    """Measure what the release is worth in training, beside what is free: minutes, or hours with tier 2."""
    from flows.evaluate import evaluate as measure_worth
    from flows.line.stage import recorded

    recorded(measure_worth, params, root, uses_model=False)


@app.command()
@verb
def publish(
    tag: Annotated[str | None, typer.Option(help="The version's name; numbered where none is given.")] = None,
    repo: RepoOption = Path(),
    device: DeviceOption = None,
) -> None:
    """Bring the data up to date, push them to the store, check them there, and tag the version."""
    from flows.versions import verbs as versions

    versions.publish_here(repo, tag)


@app.command()
@verb
def verify(params: ParamsOption = PARAMS, root: RootOption = ROOT) -> None:
    """Hash every candidate shard and every released sample, and name what is damaged or missing."""
    from flows.versions import verbs as versions

    versions.verify_here(params, root)


@app.command()
@verb
def remake(
    sample_id: Annotated[str, typer.Argument(help="A released sample, as the manifest names it.")],
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    out: Annotated[Path | None, typer.Option(help="Where to write it (.webp); its mask goes beside it.")] = None,
    device: DeviceOption = None,
) -> None:
    """Make one released image again from its row of the manifest, and compare the bytes."""
    from flows.versions.remake import remake_here

    remake_here(sample_id, params, root, out)


@app.command()
@verb
def pull(
    tag: Annotated[str, typer.Argument(help="The version.")],
    destination: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    repo: Annotated[str, typer.Option(help="A folder or an address of the dataset's repository.")] = ".",
    endpoint: Annotated[str | None, typer.Option(help="The store's address, where it differs here.")] = None,
    category: Annotated[list[str] | None, typer.Option(help="Of this category only; repeatable.")] = None,
) -> None:
    """Bring a published version, or some categories of it, into a fresh folder."""
    from flows.versions import verbs as versions

    versions.pull_here(tag, repo, destination, endpoint, category or ())


@app.command()
@verb
def diff(
    before: Annotated[str, typer.Argument(help="A version, or a release's folder.")],
    after: Annotated[str, typer.Argument(help="The same, of the later one.")],
    repo: Annotated[str, typer.Option(help="A folder or an address of the dataset's repository.")] = ".",
    out: Annotated[Path | None, typer.Option(help="A folder for sheets and the list of samples.")] = None,
) -> None:
    """Show what changed between two versions: counts, scores, rules, params, licences and samples."""
    from flows.versions.diff import diff_here

    diff_here(before, after, repo, out)


@app.command()
@verb
def doctor(
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    repo: RepoOption = Path(),
    device: DeviceOption = None,
) -> None:
    """Check params, sources, weights, disk, git, remote and store; say what to do."""
    from flows.looking import tables

    tables.show_findings(params, root, repo)


@app.command()
@verb
def up(
    folder: Annotated[Path, typer.Option(help="Where runs work.")] = Path(),
    port: Annotated[int, typer.Option(help="Of the server and its UI.")] = 4200,
    host: Annotated[str, typer.Option(help="Beyond loopback a password is demanded.")] = "127.0.0.1",
) -> None:
    """Start a Prefect server, its UI and a worker on this machine, until Ctrl-C."""
    from flows.machines.deploy import serve

    output.print("starting the server ...")
    serve(folder, port, host)


app.add_typer(machines.app)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
