"""The layers: the rooms of tasks in their order, flows above them, no circles, and each library only where it
belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    *("contracts", "wording", "progress", "seeds", "files", "params", "store", "workspace", "networks", "inputs"),
    *("masks", "plan", "quality", "candidates", "training", "diffusion", "synthesis", "generation", "release"),
    *("versions", "exports", "detectors", "evaluation"),
)
"""Of tasks, low to high: each imports itself and those before it, at its top, in its functions and for types alike."""
NEVER = {"detectors": {"synthesis", "generation", "release", "versions", "exports"}}
"""Lower rooms that a room must do without."""
STORE_MODULES = {"tasks.store.s3"}
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


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def upward(path: Path, module: str) -> list[str]:
    """The imports by which a module of tasks leaves the order of the rooms."""
    room = room_of(module)
    assert room in ROOMS, f"{module} stands in no room"
    allowed = {"", *ROOMS[: ROOMS.index(room) + 1]} - NEVER.get(room, set())
    inner = [name for name in imports(path, module) if name.split(".")[0] == "tasks"]
    return [f"{module} imports {name}" for name in sorted(inner) if room_of(name) not in allowed]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("tasks.")])
def test_a_room_knows_itself_and_those_below(module: str) -> None:
    assert not upward(MODULES[module], module)


@pytest.mark.parametrize(
    "planted",
    [
        "from tasks.release.gate import check_release",
        "from tasks import release",
        "import tasks.release.gate",
        "def gate() -> None:\n    from tasks.release.gate import check_release",
        "if TYPE_CHECKING:\n    from tasks.release.gate import check_release",
    ],
)
def test_an_import_of_a_higher_room_is_found(planted: str, tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(planted, encoding="utf-8")
    assert upward(path, "tasks.files.planted")
    assert upward(path, "tasks.detectors.planted"), "detectors are above the release and must not know it"
    assert not upward(path, "tasks.evaluation.planted")


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


def test_there_are_no_circles() -> None:
    graph = {
        module: {name for name in imports(path, module, run_at_import=True) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    circle = circle_in(graph)
    assert not circle, f"these import each other: {' -> '.join(circle)}"


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found() -> None:
    assert set(circle_in({"masks": {"plan"}, "plan": {"seeds", "masks"}})) == {"masks", "plan"}
    assert not circle_in({"masks": {"plan"}, "plan": {"seeds"}})


def kinds_of_device(source: str) -> set[str]:
    """The kinds of device that a module's strings name."""
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {str(value).split(":")[0] for value in strings if isinstance(value, str)} & {"cpu", "cuda", "mps", "xpu"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "tasks"])
def test_one_module_of_tasks_names_a_kind_of_device(module: str) -> None:
    named = kinds_of_device(MODULES[module].read_text(encoding="utf-8"))
    assert not named or module == "tasks.networks.device"


def test_a_kind_of_device_is_found_where_it_is_named() -> None:
    assert kinds_of_device('x = torch.zeros(1, device="cuda:1")') == {"cuda"}
    assert not kinds_of_device('"""On a cpu."""')


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("flows.cli", "torch"),
        ("flows.looking.tables", "prefect"),
        ("flows.looking.tables", "torch"),
        ("flows.resolve", "torch"),
        ("flows.versions.repository", "torch"),
        ("tasks.release.build", "torch"),
        ("tasks.synthesis.fitted", "torch"),
        ("tasks.versions.locked", "torch"),
        ("tasks.versions.pulled", "boto3"),
    ],
)
def test_what_is_light_stays_light(module: str, library: str) -> None:
    """What takes seconds to import is imported where it is used, for a command or a stage that does without."""
    assert library not in brought_along(module)


def test_what_is_brought_along_is_found() -> None:
    assert "torch" in brought_along("tasks.networks.lpips")
    assert "boto3" in brought_along("tasks.versions.streamed")


def brought_along(module: str) -> set[str]:
    """The libraries that are imported when a module is, by itself or by another one of ours."""
    seen, found, left = set(), set(), [module]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            inner = imports(MODULES[name], name, run_at_import=True)
            found |= {each.split(".")[0] for each in inner}
            left += [parent for each in {name, *inner} for parent in _with_parents(each)]
    return found


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
