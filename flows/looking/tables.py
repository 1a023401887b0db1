"""The verbs that only look: plan, status and doctor, as tables."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from flows.looking.estimate import Estimate, estimate
from flows.looking.overview import Overview, look
from flows.terminal import duration, output, size
from tasks.contracts import DefectoryError
from tasks.params import load_params
from tasks.workspace import Workspace


def show_plan(params: Path, root: Path) -> None:
    """What would be made, and what that takes."""
    from flows.policy import device  # brings Prefect, and the next one torch, which to look alone does without
    from tasks.networks.device import describe_device

    wanted, workspace = load_params(params), Workspace(root)
    overview = look(wanted, params.parent, workspace)
    table = _table(f"{wanted.dataset.name}: the plan", "category", "samples", "shards", "done", "missing")
    for name, category in overview.categories.items():
        missing = category.samples - category.done_samples
        counts = (category.samples, category.shards, category.done_samples, missing)
        table.add_row(name, *map(str, counts))
    output.print(table)
    _show_estimate(estimate(wanted, overview, workspace))
    output.print(f"device: {describe_device(device())}", markup=False)


def _show_estimate(expected: Estimate) -> None:
    if not expected.total_seconds:
        output.print("nothing is missing")
        return
    parts = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in expected.seconds.items() if seconds)
    basis = "as measured here" if expected.measured else "assuming two cores; measured once it has run here"
    output.print(f"about {duration(expected.total_seconds)} ({parts}; {basis}) and {size(expected.bytes)} of disk")


def show_status(params: Path, root: Path) -> None:
    """What is done and what is missing, stage by stage."""
    wanted, workspace = load_params(params), Workspace(root)
    overview = look(wanted, params.parent, workspace)
    table = _table(f"{wanted.dataset.name}: the state of {root}", "stage", "state", "", right_from=9)
    for stage, is_complete, text in _stages(overview):
        table.add_row(stage, "[green]done[/]" if is_complete else "[yellow]missing[/]", text)
    output.print(table)
    if overview.missing_samples:
        output.print("`defectory resume` makes what is missing" if overview.inputs_read else "`defectory run` begins")


def _stages(overview: Overview) -> list[tuple[str, bool, str]]:
    read = f"{overview.input_images} images" + ("" if overview.inputs_read else " to be read")
    model = f"model {overview.model_sha256[:12]}" if overview.model_sha256 else "not trained"
    rows = [("inputs", overview.inputs_read, read), ("train", overview.model_sha256 is not None, model)]
    for name, category in overview.categories.items():
        text = f"{name}: {category.done_shards} of {category.shards} shards"
        failed = f", {category.failed_samples} samples failed" if category.failed_samples else ""
        rows.append(("generate", category.done_shards == category.shards, text + failed))
    counts = ", ".join(
        f"{overview.metrics[key]} {key}" for key in ("accepted", "rejected", "failed") if key in overview.metrics
    )
    rows.append(("release", bool(overview.metrics), counts or ("made" if overview.metrics else "not made")))
    return rows


def show_findings(params: Path, root: Path, repo: Path) -> None:
    """What the doctor found. Raises DefectoryError when something has to be done."""
    from flows.looking.doctor import examine  # it tries what a run needs, torch among it

    failed = 0
    for finding in examine(params, Workspace(root), repo):
        failed += not finding.ok
        mark = "[green]ok[/]  " if finding.ok else "[red]fail[/]"
        output.print(f"{mark} {finding.check}: ", end="")
        output.print(finding.text, markup=False)
    if failed:
        raise DefectoryError(f"{failed} checks failed; each says above what to do")


def _table(title: str, *columns: str, right_from: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place >= right_from else "left")
    return table
