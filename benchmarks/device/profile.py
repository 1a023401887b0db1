"""Where the time of a station goes: the device's own, and the host's, by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile, supported_activities

from benchmarks.device.embedded import networks_of, new_line, params_of
from benchmarks.device.shop import Shop, fit
from benchmarks.device.timing import seconds_of
from tasks.plan import plan_shards

_SYSTEM = "adabldm"
_LISTED = 12
"""Operations of a station, those that take the device or the host longest."""
_LETTERS = 90
"""Of the name of an operation, which says which template it was made from."""
_MICROSECOND = 1e-6
_WATCHED = (ProfilerActivity.CPU, ProfilerActivity.CUDA)


def measure_profile(shop: Shop) -> None:
    """A row of the table `profile` for each of the model's stations, and one of `operations` for what takes longest."""
    params = params_of(shop, _SYSTEM)
    fitted = fit(shop, networks_of(shop), params)
    line = new_line(shop, params, fitted, "profile")
    plan = plan_shards(params, fitted.inputs, line.line.portfolio.sha256)[0]
    line.run([plan])
    places = line.drawn(plan).places
    painted = line.paint(places)
    finished = line.adapt(places, painted)
    _watch(shop, "paint", lambda: line.paint(places))
    _watch(shop, "adapt", lambda: line.adapt(places, painted))
    _watch(shop, "score", lambda: line.score(places, finished))


def _watch(shop: Shop, station: str, work: Callable[[], object]) -> None:
    unwatched = seconds_of(shop.device, work)
    with profile(activities=[each for each in _WATCHED if each in supported_activities()]) as watched:
        seconds_of(shop.device, work)
    found = list(watched.key_averages())
    host = [each for each in found if each.device_type.name == "CPU"]
    device = [each for each in found if each.device_type.name != "CPU" and not each.is_user_annotation]
    row = {"station": station, "seconds": unwatched, "device (s)": sum(map(_on_device, device))}
    shop.record.add("profile", row | {"given to the device": sum(each.count for each in device)})
    for name, events, seconds in (("device", device, _on_device), ("host", host, _on_host)):
        longest = sorted(events, key=seconds, reverse=True)[:_LISTED]
        rows = [{"station": station, "on": name, **_operation(each, seconds)} for each in longest]
        shop.record.extend("operations", rows)


def _on_device(event: Any) -> float:
    return float(event.self_device_time_total) * _MICROSECOND


def _on_host(event: Any) -> float:
    return float(event.self_cpu_time_total) * _MICROSECOND


def _operation(event: Any, seconds: Callable[[Any], float]) -> dict[str, Any]:
    name = str(event.key).replace("|", " ")[:_LETTERS]
    return {"operation": name, "times": event.count, "seconds": seconds(event)}
