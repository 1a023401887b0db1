"""The verbs for schedules and for more than one machine or device; `docs/scaling.md` says when to take which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.options import DEVICE_VARIABLE, DeviceOption, EndpointOption, ParamsOption, RootOption, StoreOption
from flows.terminal import verb
from tasks.workspace import PARAMS, ROOT

app = typer.Typer()


@app.command()
@verb
def generate(
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    shard_index: Annotated[int, typer.Option(help="Which part of the plan, from 0.")] = 0,
    shard_count: Annotated[int, typer.Option(help="How many parts there are.")] = 1,
    run: Annotated[str | None, typer.Option(help="Of the shared run at this address, instead of --root's.")] = None,
    endpoint: EndpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Make a part of the shards, as one of many jobs (SLURM, xargs, Ray), with no server."""
    from flows.machines.part import generate_here
    from tasks.plan import Part

    generate_here(params, root, Part(shard_index, shard_count), run, endpoint)


@app.command()
@verb
def share(
    store: StoreOption,
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    endpoint: EndpointOption = None,
) -> None:
    """Put a trained run into a store, from where `generate --run` works on it."""
    from flows.machines.fan_out import share_here

    share_here(store, endpoint, params, root)


@app.command()
@verb
def collect(
    store: StoreOption,
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    endpoint: EndpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Collect what has been made of a shared run, make what is missing, release."""
    from flows.machines.fan_out import collect_here

    collect_here(store, endpoint, params, root)


@app.command()
@verb
def fan_out(
    store: StoreOption,
    params: ParamsOption = PARAMS,
    root: RootOption = ROOT,
    endpoint: EndpointOption = None,
    parts: Annotated[int | None, typer.Option(min=1, max=200, help="A few times as many as workers; 16.")] = None,
    patience: Annotated[float | None, typer.Option(help="Seconds a worker may finish no shard; 1800.")] = None,
    device: DeviceOption = None,
) -> None:
    """Run the whole line, painting on the workers of all machines (`defectory deploy`, `defectory worker`)."""
    from flows.machines.fan_out import fan_out_here

    fan_out_here(store, endpoint, parts, patience, params, root)


@app.command()
@verb
def worker(
    device: Annotated[
        list[str] | None,
        typer.Option(envvar=DEVICE_VARIABLE, help="cpu, cuda:1, mps or a GPU's number; repeatable: a worker each."),
    ] = None,
) -> None:
    """Take parts of runs, one at a time on each device, until Ctrl-C."""
    from flows.machines.workers import work

    work(device or [""])


@app.command()
@verb
def deploy(
    folder: Annotated[Path, typer.Option(help="The dataset's git and dvc repository.")] = Path(),
    cron: Annotated[str | None, typer.Option(help="When to publish, such as '0 2 * * *'.")] = None,
    timezone: Annotated[str, typer.Option(help="Of --cron.")] = "UTC",
    notify: Annotated[str | None, typer.Option(help="Block that tells of failures: slack-webhook/alerts.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Let scheduled runs fan out, through this s3://bucket/prefix.")
    ] = None,
    endpoint: EndpointOption = None,
) -> None:
    """Register flows, schedule and automations with a Prefect server."""
    from flows.machines.deploy import Wishes, deploy_here

    deploy_here(folder, Wishes(cron, timezone, notify, store, endpoint))
