"""Every system on the same clean images and masks: a picture and a table, made by one command.

    python -m benchmarks.systems --params examples/bottle.yaml --workspace DIR
        [--systems a,b,c] [--samples 24] [--rows 8] [--protocol anomalydiffusion] [--out docs/systems]

Inputs are read and systems fitted in DIR/data; what is there already is used. Systems can be run one at a time: each
leaves its result in DIR/systems, and picture and table are made from all results there that fit together.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.setup import read_or_build, systems_named
from benchmarks.systems.measure import Bench, measure, places_sha256
from benchmarks.systems.results import SystemResult, read_picture, read_results, write_result
from benchmarks.systems.sheet import draw_systems
from benchmarks.systems.table import table_of
from benchmarks.systems.training import timed
from flows.terminal import progress
from tasks.contracts import DefectoryError
from tasks.generation.line import draw_places
from tasks.masks.pseudo_store import fit_pseudo_masks
from tasks.networks.arithmetic import fix_arithmetic
from tasks.networks.device import choose_device
from tasks.params import load_params
from tasks.params.registry import SYSTEMS
from tasks.quality.ic_lpips import PROTOCOLS
from tasks.release.sheets import encode_sheet
from tasks.seeds import choose


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    params = load_params(given.params)
    names = systems_named(given.systems)
    fix_arithmetic(params)
    data, results = given.workspace / "data", given.workspace / "systems"
    with progress() as report:
        inputs = read_or_build(params, given.params.parent, data / "inputs", report)
        bench = Bench(inputs, params, data / "models", given.samples, given.protocol, choose_device(), report)
        with timed(bench.workdir):  # masks are drawn from pseudo-masks, whoever paints
            fit_pseudo_masks(inputs, params, bench.workdir, report)
        for name in names:
            run(bench, name, results)
    command = f"python -m benchmarks.systems --params {given.params.as_posix()} --workspace DIR"
    command += f" --samples {given.samples} --rows {given.rows} --protocol {given.protocol}"
    publish(bench, results, given.rows, given.out, command)


def publish(bench: Bench, results: Path, rows: int, out: Path, command: str) -> None:
    """Write `<dataset>.png` and `<dataset>.md` from every result that fits the bench."""
    params = bench.params_of(next(iter(SYSTEMS)))
    places = {place.spec.sample_id: place for place in draw_places(bench.inputs, params, bench.workdir)}
    listed = _fitting(bench, results, places_sha256(list(places.values())))
    chosen = [places[sample_id] for sample_id in choose(places, rows)]
    columns = {
        result.system: [read_picture(results, result.system, place.spec.sample_id) for place in chosen]
        for result in listed
        if not result.error
    }
    samples = [(f"{p.spec.sample_id}  {p.spec.defect_type}  {p.drawn.source}", p.clean.image, p.mask) for p in chosen]
    name = params.dataset.name
    picture = draw_systems(f"{name}: the same clean images and masks, painted by each system", samples, columns)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.png").write_bytes(encode_sheet(picture))
    (out / f"{name}.md").write_text(table_of(listed, params, f"{name}.png", command), encoding="utf-8")


def _fitting(bench: Bench, results: Path, expected: str) -> list[SystemResult]:
    """The results that may stand in one table, in the order of the registry; of the others it is said why."""
    found = {result.system: result for result in read_results(results)}
    listed = []
    for result in (found[name] for name in SYSTEMS if name in found):
        if result.error or (result.places_sha256, result.protocol) == (expected, bench.protocol):
            listed.append(result)
        else:
            print(f"{result.system}: left out, measured on other images or masks or by another protocol; run it again")
    return listed


def run(bench: Bench, system: str, results: Path) -> None:
    """Measure one system and keep its result; one that fails costs no other its row."""
    try:
        result, images = measure(bench, system)
    except DefectoryError as error:
        result, images = bench.failure(system, str(error)), {}
    except Exception as error:
        traceback.print_exc()
        result, images = bench.failure(system, f"{type(error).__name__}: {error}"), {}
    write_result(results, result, images)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.systems", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--systems", default="", help="names with commas between; by default all")
    parser.add_argument("--samples", type=int, default=24, help="a category")
    parser.add_argument("--rows", type=int, default=8, help="of the picture")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="anomalydiffusion", help="of IC-LPIPS")
    parser.add_argument("--out", type=Path, default=Path("docs") / "systems")
    return parser


if __name__ == "__main__":
    main()
