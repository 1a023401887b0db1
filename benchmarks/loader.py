"""A version streamed from its store beside the same images on disk: images a second, decoded, in one run.

    python -m benchmarks.loader [--images 480] [--size 256] [--workers 2] [--rounds 3]

Solar cells of the package elpv-dataset are published as a version into a SeaweedFS on loopback and read by the same
DataLoader four times a round: streamed, `ReleaseDataset`, Hugging Face `datasets`, and torchvision's `ImageFolder`,
which reads no masks. Workers stay alive and a pass before the rounds warms them, so neither starting nor importing
counts. A network is not part of it; the store's own work on the same cores is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
from torch.utils.data import DataLoader

from benchmarks.figures import print_figure
from flows.publish import publish
from flows.server.local_store import BUCKET, local_store, store_key
from flows.versions.repository import init_workspace
from tasks.files.atomic import write_atomic
from tasks.files.hashing import sha256
from tasks.files.names import MANIFEST
from tasks.files.pictures import encode_image, encode_mask
from tasks.files.tables import IMAGE_ROWS, encode_table
from tasks.release.pack import PACKED_SCHEMA
from tasks.versions import Stream, open_release
from tasks.versions.locked import RELEASE

AIM = 0.8
STAGES = """\
stages:
  release:
    cmd: mkdir -p data && cp -r made data/release
    deps: [made]
    outs: [data/release]
"""
PARAMS = "dataset: {name: cells}\ninputs: {sources: [{kind: elpv}]}\n"
_SHARD_SIZE, _BATCH = 12, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 480), ("size", 256), ("workers", 2), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _store(Path(name) / "store") as endpoint:
        folder = Path(name)
        tag = make_version(folder, endpoint, given.images, given.size)
        loaders = {
            peer: DataLoader(dataset, batch_size=_BATCH, num_workers=given.workers, persistent_workers=True)
            for peer, dataset in open_peers(folder, tag).items()
        }
        rates = measure(loaders, given.images, given.rounds)
    for peer, rate in rates.items():
        print(f"{peer:16s}{np.median(rate):8.1f} images a second{'':4s}({min(rate):.1f} to {max(rate):.1f})")
    ratio = float(np.median(np.divide(rates["streamed"], rates["local"])))
    print_figure("loader", ratio, "images a second, streamed to local, median of rounds", f">= {AIM}", ratio >= AIM)


def measure(loaders: dict[str, DataLoader[Any]], images: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each loader in each round; the loaders take turns, so that what else runs slows all alike."""
    rates: dict[str, list[float]] = {peer: [] for peer in loaders}
    for number in range(rounds + 1):
        for peer, loader in loaders.items():
            start = time.perf_counter()
            given = sum(len(batch[0] if isinstance(batch, list) else batch["image"]) for batch in loader)
            assert given == images, f"{peer} gave {given} of {images} images"
            if number:
                rates[peer].append(images / (time.perf_counter() - start))
    return rates


def open_peers(folder: Path, tag: str) -> dict[str, Any]:
    """Datasets of the same images, by name."""
    import datasets
    import torchvision

    datasets.disable_progress_bars()
    shards = sorted(str(path) for path in (folder / "workspace" / RELEASE / "images").glob("*/*.parquet"))
    cache = str(folder / "datasets")
    table = datasets.load_dataset("parquet", data_files=shards, split="train", cache_dir=cache)
    to_tensor = torchvision.transforms.PILToTensor()
    return {
        "streamed": open_release(tag, folder / "workspace", stream=Stream()),
        "local": open_release(tag, folder / "workspace"),
        "datasets": table.select_columns(["sample_id", "image", "mask"]).with_format("torch"),
        "ImageFolder": torchvision.datasets.ImageFolder(str(folder / "images"), transform=to_tensor),
    }


def make_version(folder: Path, endpoint: str, images: int, size: int) -> str:
    """Write the release and, for ImageFolder, the same images as files; publish it and return its tag."""
    workspace = folder / "workspace"
    rows = [_row(number, path, size) for number, path in enumerate(_photographs(images))]
    for row in rows:
        write_atomic(folder / "images" / "cell" / row["image"]["path"], row["image"]["bytes"])
    for start in range(0, images, _SHARD_SIZE):
        stored = [{name: row[name] for name in PACKED_SCHEMA.names} for row in rows[start : start + _SHARD_SIZE]]
        shard = workspace / "made" / "images" / "cell" / f"{start // _SHARD_SIZE:05d}.parquet"
        write_atomic(shard, encode_table(pa.Table.from_pylist(stored, PACKED_SCHEMA), IMAGE_ROWS))
    listed = [{name: value for name, value in row.items() if name not in PACKED_SCHEMA.names[1:]} for row in rows]
    write_atomic(workspace / "made" / MANIFEST, encode_table(pa.Table.from_pylist(listed)))
    (workspace / "dvc.yaml").write_text(STAGES, encoding="utf-8")
    (workspace / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (workspace / ".gitignore").write_text("/data/\n/made/\n", encoding="utf-8")
    init_workspace(workspace, f"s3://{BUCKET}/loader", endpoint)
    return publish(workspace).tag


def _row(number: int, path: Path, size: int) -> dict[str, Any]:
    with PIL.Image.open(path) as picture:
        image = encode_image(np.asarray(picture.convert("RGB").resize((size, size))))
    place = np.indices((size, size)) - np.random.default_rng(number).integers(0, size, (2, 1, 1))
    mask = encode_mask(np.hypot(*place) < size / 8)
    name = f"cell-{number:06d}"
    return {
        "sample_id": name,
        "image": {"bytes": image, "path": f"{name}.webp"},
        "mask": {"bytes": mask, "path": f"{name}_mask.png"},
        "intended_mask": {"bytes": mask, "path": f"{name}_intended.png"},
        "category": "cell",
        "defect_type": "disc",
        "shard": f"images/cell/{number // _SHARD_SIZE:05d}.parquet",
        "row": number % _SHARD_SIZE,
        "image_sha256": sha256(image),
        "mask_sha256": sha256(mask),
    }


def _photographs(count: int) -> list[Path]:
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "data" / "images").glob("*.png"))[:count]


@contextmanager
def _store(folder: Path) -> Iterator[str]:
    key = store_key(folder)
    os.environ.update(key.environment())
    with local_store(folder, key.access_key, key.secret_key) as endpoint:
        yield endpoint


if __name__ == "__main__":
    main()
