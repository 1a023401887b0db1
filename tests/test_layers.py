"""The layers: contracts <- tasks <- flows, no circles, and each library only where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STORE_MODULES = {"tasks.store.s3", "tasks.versions"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("tasks", "flows", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(path: Path, module: str, run_at_import: bool = False) -> set[str]:
    """The modules that a file imports: everywhere in it, or only what is run when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in _import_time(tree) if run_at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import; write it out"
            found |= {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def _import_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _import_time(child)


def packages(path: Path, module: str) -> set[str]:
    return {name.split(".")[0] for name in imports(path, module)}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "tasks"])
def test_tasks_know_neither_flows_nor_how_they_are_run(module: str) -> None:
    assert not packages(MODULES[module], module) & {"flows", "benchmarks", "tests", "prefect", "dvc", "typer", "rich"}


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_where_they_belong(module: str) -> None:
    used = packages(MODULES[module], module)
    if module not in STORE_MODULES:
        assert not used & {"boto3", "botocore"}, "S3 is spoken by the store alone"
    if not module.startswith("flows"):
        assert "prefect" not in used


def test_contracts_know_nothing_of_the_project() -> None:
    assert not packages(MODULES["tasks.contracts"], "tasks.contracts") & {"tasks", "flows", "benchmarks"}


def test_there_are_no_circles() -> None:
    graph = {
        module: {name for name in imports(path, module, run_at_import=True) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")
    assert order.index("tasks.contracts") < order.index("tasks.plan") < order.index("flows.generate")
