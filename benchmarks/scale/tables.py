"""What a run at full size has cost, as tables, and whether its aims hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.scale.place import STATIONS, Place

Figures = dict[str, dict[str, Any]]
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
    """Every station at every size that was run, as Markdown."""
    places = sorted((Place(folder, int(path.parent.name)) for path in folder.glob("*/figures.json")), key=_samples)
    runs = [(place, place.figures()) for place in places]
    for what, unit in (("seconds", ""), ("computing", " computing"), ("memory", " GB")):
        print(f"\n| {what}{unit} | " + " | ".join(f"{place.samples:,}" for place in places) + " |")
        print("|---|" + "---|" * len(places))
        for station in STATIONS[1:]:
            cells = [figures[station][what] if station in figures else None for _, figures in runs]
            scale = _GB if what == "memory" else 1.0
            print(f"| {station} | " + " | ".join("" if one is None else f"{one / scale:.2f}" for one in cells) + " |")


def aims(figures: Figures, samples: int) -> Iterator[Aim]:
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


def images_of(station: str, figures: Figures, samples: int) -> int:
    """How many images a station had to do with."""
    if station in ("pull", "stream", "publish", "publish again"):
        return int(figures["release"]["accepted"])
    return int(figures[station].get("images", samples))


def _samples(place: Place) -> int:
    return place.samples


def _besides(found: dict[str, Any]) -> Iterator[str]:
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
