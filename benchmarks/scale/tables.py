"""What a run at full size has cost, as tables, and whether its aims hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.scale.place import STATIONS, Figures, Place

Runs = dict[str, Figures]
_GB = 1e9


class Aim(NamedTuple):
    """One figure with what it should be."""

    name: str
    figure: float
    unit: str
    aim: str
    holds: bool


def print_stations(place: Place) -> None:
    figures = place.figures()
    print(f"{place.samples} samples, {figures['release']['accepted']} of them released")
    print(f"{'station':<18}{'s':>9}{'computing s':>13}{'images a s':>12}{'memory GB':>11}  besides")
    for station, found in figures.items():
        rate = images_of(station, figures, place.samples) / found["seconds"]
        print(
            f"{station:<18}{found['seconds']:>9.1f}{found['computing']:>13.1f}{rate:>12.0f}"
            f"{found['memory'] / _GB:>11.2f}  {', '.join(_besides(found))}"
        )


def print_aims(place: Place) -> None:
    from benchmarks.figures import print_figure  # brings torch

    for aim in aims(place.figures(), place.samples):
        print_figure(f"scale {aim.name}", aim.figure, aim.unit, aim.aim, aim.holds)


def print_growth(folder: Path) -> None:
    """Every size that was run beside the others, as Markdown."""
    found = [Place(folder, int(path.parent.name)) for path in folder.glob("*/figures.json")]
    places = sorted(found, key=lambda place: place.samples)
    runs = [place.figures() for place in places]
    sizes = " | ".join(f"{place.samples:,}" for place in places)
    print(f"| seconds, computing, memory | {sizes} |\n|---|{'---|' * len(places)}")
    for station in list(STATIONS)[1:]:
        print(f"| {station} | {' | '.join(_cost(figures.get(station)) for figures in runs)} |")
    print(f"\n| besides | {sizes} |\n|---|{'---|' * len(places)}")
    for name, (station, figure, unit, scale) in _GROWING.items():
        values = [figures.get(station, {}).get(figure) for figures in runs]
        cells = ["" if value is None else f"{_short(value / scale)}{unit}" for value in values]
        print(f"| {name} | {' | '.join(cells)} |")


_GROWING = {
    "own share of `generate`": ("generate", "own share", "", 1),
    "Prefect's database": ("generate", "database", " MB", 1e6),
    "candidates": ("generate", "bytes", " MB", 1e6),
    "shards": ("generate", "shards", "", 1),
    "the plan, anew": ("resume scan", "plan seconds", " s", 1),
    "scan of all markers": ("resume scan", "scan seconds", " s", 1),
    "re-filter and manifest": ("re-filter", "work seconds", " s", 1),
    "of which computing": ("re-filter", "work computing", " s", 1),
    "samples released": ("release", "accepted", "", 1),
    "release": ("release", "bytes", " MB", 1e6),
    "verify": ("verify", "rate", " MB/s", 1e6),
    "hashing the same files and nothing else": ("verify", "bare rate", " MB/s", 1e6),
    "pushed": ("publish", "pushed bytes", " MB", 1e6),
    "pushed again": ("publish again", "pushed bytes", " bytes", 1),
    "a category pulled": ("pull a category", "bytes", " MB", 1e6),
    "streamed": ("stream", "rate", " images/s", 1),
    "to the first batch": ("stream", "seconds to the first batch", " s", 1),
}
"""Station, figure, unit and what one unit is."""


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _cost(found: Figures | None) -> str:
    if found is None:
        return ""
    return f"{found['seconds']:.1f} s, {found['computing']:.1f} s, {found['memory'] / _GB:.2f} GB"


def aims(figures: Runs, samples: int) -> Iterator[Aim]:
    """Those of the stations that have been measured."""
    share = figures["generate"]["own share"]
    yield Aim("own share", share, "share of generate's wall time without a model", "< 0.05", share < 0.05)
    seconds = figures["resume scan"]["scan seconds"]
    yield Aim("resume scan", seconds, f"s for {figures['resume scan']['markers']} markers", "< 1", seconds < 1)
    seconds = figures["re-filter"]["work seconds"]
    yield Aim("re-filter", seconds, f"s for {samples} candidates", "< 60", seconds < 60)
    rate, bare = figures["verify"]["rate"] / _GB, figures["verify"]["bare rate"] / _GB
    unit = f"GB/s, where hashing alone has {bare:.2f}"
    yield Aim("verify", rate, unit, ">= 1, or 0.9 of hashing alone", rate >= min(1.0, 0.9 * bare))
    again = figures["publish again"]
    unit = f"s, {again['pushed bytes']} bytes pushed, new version: {again['new']}"
    quiet = again["pushed bytes"] == 0 and not again["new"]
    yield Aim("publish again", again["seconds"], unit, "< 60 and 0 bytes", quiet and again["seconds"] < 60)
    whole, loose = (
        images_of(name, figures, samples) / figures[name]["seconds"] for name in ("pull", "pull loose files")
    )
    yield Aim("pull", whole / loose, "images a second of a pull, shards to loose files", ">= 20", whole >= 20 * loose)


def images_of(station: str, figures: Runs, samples: int) -> int:
    """How many images a station had to do with."""
    if station in ("pull", "stream", "publish", "publish again"):
        return int(figures["release"]["accepted"])
    return int(figures[station].get("images", samples))


def _besides(found: Figures) -> Iterator[str]:
    """What a station adds, on one line."""
    for name, value in found.items():
        if name in ("bytes", "pushed bytes", "database"):
            yield f"{name} {value / 1e6:.1f} MB"
        elif name.endswith("rate") and isinstance(value, float):
            yield f"{name} {value:.4g}"
        elif isinstance(value, dict):
            yield f"{name}: " + " ".join(f"{key} {part:.1f}" for key, part in value.items())
        elif name not in ("seconds", "computing", "memory"):
            yield f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
