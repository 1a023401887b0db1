"""One station of a run at full size, in a process: `python -m benchmarks.scale.station STATION FOLDER SAMPLES`.

In: a place, and the store's address and key in the environment. Out: in the place's figures, the station's seconds,
computing seconds, the memory of its largest process, and what it adds. The clock starts when all is imported, which
takes as long at every size.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from pkgutil import resolve_name

from benchmarks.scale.place import STATIONS, Place
from flows.line.timing import peak_memory


def main() -> None:
    name, folder, samples = sys.argv[1:]
    place, work = Place(Path(folder), int(samples)), resolve_name(STATIONS[name])
    start, busy = time.perf_counter(), _computing()
    found = work(place)
    cost = {
        "seconds": time.perf_counter() - start,
        "computing": _computing() - busy,
        "memory": max(peak_memory(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024),
        "load": os.getloadavg()[0],
    }
    place.keep(name, cost | found)


def _computing() -> float:
    """Processor seconds of this process and of those it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
