"""Other thresholds for 360,000 candidates: seconds from their score files to verdicts, ledger and manifest.

    python -m benchmarks.refilter [--categories 36] [--samples 10000] [--shard-size 100] [--pictures 300]

The candidates are synthetic rows in files as the line writes them, logits and descriptors included, without pictures.
Every station is the release's own code. What a release does beyond that, scores of the whole and pictures, is listed
below the sum: metrics are measured, packing and the gate are measured on solar cells at 256 px and scaled by number.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.candidates import LOGITS, make_inputs, make_params, write_candidates
from benchmarks.figures import print_figure
from benchmarks.refilter_pictures import seconds_a_sample
from tasks.candidates.read import read_logits
from tasks.files.atomic import write_atomic
from tasks.files.names import LEDGER, MANIFEST
from tasks.files.tables import encode_table
from tasks.plan import plan_shards
from tasks.quality.nearest_real import read_real_descriptors
from tasks.release.build import check_finished
from tasks.release.judge import judge_candidates
from tasks.release.manifest import ACCEPTED, build_ledger, build_manifest
from tasks.release.metrics import build_metrics

AIM = 60.0
T = TypeVar("T")


class Stations:
    """Times what it is given to call; of seconds, those on the clock and those this process was computing."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.computing: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        start, busy = time.perf_counter(), time.process_time()
        result = work()
        self.seconds[name], self.computing[name] = time.perf_counter() - start, time.process_time() - busy
        print(f"  {name:<22}{self.seconds[name]:8.1f} s{self.computing[name]:10.1f} s computing", flush=True)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, default=36)
    parser.add_argument("--samples", type=int, default=10_000, help="of a category")
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=300, help="on which packing and the gate are measured")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "benchmarks")
    given = parser.parse_args()
    folder = given.folder / "refilter"
    shutil.rmtree(folder, ignore_errors=True)
    params, inputs = make_params(given.samples, given.shard_size), make_inputs(given.categories)
    station, candidates = Stations(), folder / "candidates"
    plans = station("plan", lambda: plan_shards(params, inputs, "model"))
    print(f"  ({write_candidates(candidates, plans, inputs) / 1e9:.2f} GB of score files written, not counted)")

    station("check shards", lambda: check_finished(candidates, plans))
    real = read_real_descriptors(candidates, inputs.sha256)
    judged = station("read and select", lambda: judge_candidates(candidates, plans, params, real))
    accepted = judged[judged["status"] == ACCEPTED].assign(line_fingerprint="")
    manifest = station("manifest", lambda: build_manifest(accepted))
    write = partial(write_atomic, folder / MANIFEST)
    station("write manifest", lambda: write(encode_table(manifest)))
    ledger = partial(build_ledger, judged, ())
    station("ledger", lambda: write_atomic(folder / LEDGER, encode_table(ledger())))
    total, computing = sum(station.seconds.values()), sum(station.computing.values())
    print(f"{len(judged)} candidates, {len(accepted)} accepted: {total:.1f} s, {computing:.1f} s computing")

    print("what a release does besides:")
    station(f"metrics, {LOGITS} classes", lambda: build_metrics(params, judged, 0, partial(read_logits, candidates)))
    costs = seconds_a_sample(folder / "pictures", given.pictures)
    for name, seconds in zip(("pack", "gate"), costs, strict=True):
        print(f"  {name:<22}{seconds * len(accepted):8.0f} s computing, scaled from {seconds * 1000:.2f} ms a sample")
    print_figure("refilter", total, f"s for {len(judged)} candidates", f"< {AIM:g}", total < AIM)


if __name__ == "__main__":
    main()
