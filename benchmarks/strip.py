"""The README's picture: samples of a release, chosen by the hash of their ids and never by hand.

    python -m benchmarks.strip --workspace DIR --out docs/strip.png [--count 8]

Rows: the clean image, the mask, the sample, the difference (four times amplified).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq

from tasks.contracts import Image
from tasks.files.names import MANIFEST
from tasks.files.pictures import decode_image, decode_mask
from tasks.inputs.dataset import read_inputs
from tasks.release.sheets import amplify
from tasks.seeds import choose

_GAP = 4


def column(release: Path, row: dict[str, Any], clean: Image) -> Image:
    """One sample's four pictures above one another."""
    table = pq.read_table(release / row["shard"], columns=["sample_id", "image", "mask"])
    packed = next(found for found in table.to_pylist() if found["sample_id"] == row["sample_id"])
    result, mask = decode_image(packed["image"]["bytes"]), decode_mask(packed["mask"]["bytes"])
    white = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    gap = np.full((_GAP, clean.shape[1], 3), 255, np.uint8)
    return np.concatenate([clean, gap, white, gap, result, gap, amplify(clean, result)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8)
    arguments = parser.parse_args()
    data = arguments.workspace / "data"
    rows = pq.read_table(data / "release" / MANIFEST).to_pylist()
    manifest = {row["sample_id"]: row for row in rows}
    inputs = read_inputs(data / "inputs")
    share = arguments.count // len(inputs.categories)
    by_category = [[row["sample_id"] for row in rows if row["category"] == name] for name in inputs.categories]
    ids = [chosen for names in by_category for chosen in choose(names, share)]
    columns = [column(data / "release", manifest[i], inputs.by_id(manifest[i]["clean_id"]).image) for i in ids]
    gap = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    PIL.Image.fromarray(np.concatenate([part for one in columns for part in (one, gap)][:-1], axis=1)).save(
        arguments.out, optimize=True
    )
    print(f"{arguments.out}: {', '.join(ids)}")


if __name__ == "__main__":
    main()
