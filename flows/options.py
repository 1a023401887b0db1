"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ParamsOption = Annotated[Path, typer.Option("--params", help="What to make.")]
RootOption = Annotated[Path, typer.Option("--root", help="Where the data are.")]
RepoOption = Annotated[Path, typer.Option("--repo", help="The dataset's git and dvc repository.")]
StoreOption = Annotated[str, typer.Option("--store", help="s3://bucket/prefix, which all machines reach.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint", help="The store's address, where it is not AWS.")]
