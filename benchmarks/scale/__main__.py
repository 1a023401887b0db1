"""A run at full size: 36 categories through the whole line to a store and back, what each station costs.

    python -m benchmarks.scale --samples 36000 [--folder .cache/benchmarks/scale] [--again STATION,STATION]
    python -m benchmarks.scale --growth

Real photographs cut into 36 categories, painted by CutPaste at 64 px, scored as any sample is; SeaweedFS on loopback.
Every station runs in a process of its own, so that its peak memory is its own; what has been measured is not measured
again unless `--again` names it. `--growth` sets the sizes that were run side by side.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.scale.place import ENDPOINT, STATIONS, Place
from benchmarks.scale.tables import print_aims, print_growth, print_stations
from flows.server.local_store import local_store, store_key

# Nothing heavy is imported here: a process that is started inherits the peak memory of the one that starts it.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3600, help="of all categories together")
    parser.add_argument("--folder", type=Path, default=Path(".cache") / "benchmarks" / "scale")
    parser.add_argument("--again", default="", help="stations to be measured again, with commas between")
    parser.add_argument("--growth", action="store_true")
    given = parser.parse_args()
    if given.growth:
        print_growth(given.folder)
        return
    place = Place(given.folder.resolve(), given.samples)
    place.base.mkdir(parents=True, exist_ok=True)
    run(place, set(filter(None, given.again.split(","))))
    print_stations(place)
    print_aims(place)


def run(place: Place, again: set[str]) -> None:
    key = store_key(place.store)
    environment = {**os.environ, **key.environment(), "PREFECT_HOME": str(place.prefect_home)}
    environment.pop("AWS_PROFILE", None)
    with local_store(place.store, key.access_key, key.secret_key) as endpoint:
        environment[ENDPOINT] = endpoint
        for station in STATIONS:
            if station in place.figures() and station not in again:
                continue
            print(f"- {station}", flush=True)
            command = [sys.executable, "-m", "benchmarks.scale.station", station, str(place.folder)]
            subprocess.run([*command, str(place.samples)], env=environment, check=True)


if __name__ == "__main__":
    main()
