"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import run_to_status

DEVICE_VARIABLE = "DEFECTORY_DEVICE"


def _choose(name: str | None) -> str | None:
    """Put the device's name where this process and those that it starts look for it (`policy.device`).

    One that is not there ends the verb before it has read anything.
    """
    if name is not None:
        os.environ[DEVICE_VARIABLE] = name
    if name and (status := run_to_status(_device)):
        raise typer.Exit(status)
    return name


def _device() -> object:
    from flows.policy import device  # takes seconds to import: only where a device is named

    return device()


ParamsOption = Annotated[Path, typer.Option("--params", help="What to make.")]
RootOption = Annotated[Path, typer.Option("--root", help="Where the data are.")]
RepoOption = Annotated[Path, typer.Option("--repo", help="The dataset's git and dvc repository.")]
StoreOption = Annotated[str, typer.Option("--store", help="s3://bucket/prefix, which all machines reach.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint", help="The store's address, where it is not AWS.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        envvar=DEVICE_VARIABLE,
        callback=_choose,
        help="Where networks run: cpu, cuda, cuda:1, mps; the best there is where none is named.",
    ),
]
"""Chosen by the time that the verb begins, which need not look at it."""
