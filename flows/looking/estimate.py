"""How long a run will take and how much disk it needs, before it begins.

From what this workspace has measured where it has run, else from stated defaults of a machine with two cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.looking.overview import Overview
from tasks.files.names import BACKBONE, CODEC, DENOISER
from tasks.params import Params
from tasks.params.registry import entry_of
from tasks.plan import shares_of
from tasks.synthesis import used_systems
from tasks.workspace import Workspace

_REFERENCE_PIXELS = 256 * 256
SECONDS_PER_INPUT = 0.02
SECONDS_PER_RELEASED_SAMPLE = 0.03
BYTES_PER_SAMPLE = 90_000
"""Of a lossless 256 px image; the seconds are of that size too. All but the training scale with the pixels."""


@dataclass(frozen=True)
class Estimate:
    seconds: dict[str, float]
    """By stage; 0 where nothing is missing."""
    bytes: int
    measured: bool
    """Whether the seconds a sample are this workspace's own."""

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def estimate(params: Params, overview: Overview, workspace: Workspace) -> Estimate:
    scale = params.dataset.image_size**2 / _REFERENCE_PIXELS
    measured = _measured_seconds(workspace)
    samples = sum(category.samples for category in overview.categories.values())
    missing = overview.missing_samples
    seconds = {
        "inputs": 0.0 if overview.inputs_read else SECONDS_PER_INPUT * scale * overview.input_images,
        "train": 0.0 if overview.model_sha256 else _training_seconds(params),
        "generate": missing * (measured or _seconds_of_sample(params) * scale),
        "release": SECONDS_PER_RELEASED_SAMPLE * scale * samples if missing or not overview.metrics else 0.0,
    }
    # Each sample lies on disk twice, as a candidate and released.
    return Estimate(seconds, round(2 * missing * _bytes_per_sample(workspace, scale)), measured is not None)


def _training_seconds(params: Params) -> float:
    """Steps times seconds: of every product that the dataset's systems share, each once, and of each one's own."""
    shared = {
        CODEC: 0.4 * params.codec.fine_tune_steps,
        DENOISER: 0.22 * params.denoiser.steps,
        BACKBONE: 0.35 * params.backbone.steps * (params.backbone.kind == "embedded"),
    }
    entries = {name: entry_of(name) for name in used_systems(params)}
    products = {product for entry in entries.values() for product in entry.products}
    own = sum(entry.seconds_of_training(params.system(name)) for name, entry in entries.items())
    return own + sum(shared.get(product, 0.0) for product in products)


def _seconds_of_sample(params: Params) -> float:
    shares = shares_of(params.paint.systems, "paint.systems")
    return sum(share * entry_of(name).sample_seconds for name, share in shares)


def _measured_seconds(workspace: Workspace) -> float | None:
    """Wall seconds of a sample's model path in the workspace's own shards; the other stations run beside it."""
    shards = workspace.read_timings("generate").get("shards", {}).values()
    samples = sum(shard.get("samples", 0) for shard in shards)
    model = sum(shard.get(station, 0.0) for shard in shards for station in ("paint", "adapt", "score"))
    return model / samples if samples and model else None


def _bytes_per_sample(workspace: Workspace, scale: float) -> float:
    shards = list(workspace.candidates.glob("*/*[0-9].parquet"))
    samples = sum(shard.get("samples", 0) for shard in workspace.read_timings("generate").get("shards", {}).values())
    if not shards or not samples:
        return BYTES_PER_SAMPLE * scale
    return sum(path.stat().st_size for path in shards) / samples
