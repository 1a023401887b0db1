"""A released sample from its row of the manifest: its spec, and whether what is here is what it was made with.

In: a release's folder, params, inputs and models. Out: the row, the spec it holds, and every difference. The plan has
no part in it: a sample can be made again long after the params have come to plan others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.contracts import DefectoryError, SampleSpec
from tasks.files.names import LEDGER, MANIFEST
from tasks.inputs.dataset import Inputs
from tasks.params import Params
from tasks.plan import line_fingerprint
from tasks.release.manifest import MANIFEST_SCHEMA
from tasks.synthesis.fitted import fitted_sha256

_SHOWN = 12
"""Digits of a hash."""


def read_row(release: Path, sample_id: str) -> dict[str, Any]:
    """The manifest's row of one sample.

    Raises DefectoryError where there is no manifest, or one of an earlier version; and for a sample that was not
    released, with what the ledger says of it.
    """
    path = release / MANIFEST
    try:
        manifest = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DefectoryError(f"{path}: no manifest ({str(error).splitlines()[0]}); run `defectory release`") from None
    if missing := [name for name in MANIFEST_SCHEMA.names if name not in manifest.column_names]:
        raise DefectoryError(
            f"{path}: made by an earlier version, without {', '.join(missing)}; "
            "run `defectory release` in its workspace, which paints nothing"
        )
    rows: list[dict[str, Any]] = manifest.filter(pc.equal(manifest["sample_id"], sample_id)).to_pylist()
    if not rows:
        raise DefectoryError(f"{path}: no released sample is called {sample_id!r}; {_fate(release, sample_id)}")
    return rows[0]


def _fate(release: Path, sample_id: str) -> str:
    try:
        [row] = pq.read_table(release / LEDGER, filters=[("sample_id", "==", sample_id)]).to_pylist()
    except (OSError, pa.ArrowException, ValueError):
        return "nor is it in the ledger; the manifest's column sample_id has the names"
    return f"the ledger says: {row['status']}, {row['rule'] or row['error']}"


def spec_of(row: Mapping[str, Any]) -> SampleSpec:
    """The spec that a row of the manifest was made from."""
    return SampleSpec(
        sample_id=row["sample_id"],
        dataset=row["dataset"],
        category=row["category"],
        defect_type=row["defect_type"],
        index=row["index"],
        clean_id=row["clean_id"],
        mask_source=row["mask_source"],
        strength=row["strength"],
        seed=row["seed"],
        system=row["method"],
    )


def differences(row: Mapping[str, Any], params: Params, inputs: Inputs, models: Path) -> Iterator[str]:
    """A line for each thing that is not as it was when the row's sample was made: what, both hashes, what to do."""
    clean = _sha256_of(inputs, row["clean_id"])
    if clean != row["clean_sha256"]:
        yield _line(f"clean_sha256 of {row['clean_id']}", row["clean_sha256"], clean, "get data/inputs of that version")
    try:
        model = fitted_sha256(params, inputs, models)
    except DefectoryError:
        model = "not fitted to these params and inputs"
    if model != row["model_sha256"]:
        yield _line("model_sha256", row["model_sha256"], model, "get params.yaml and data/models of that version")
    here = line_fingerprint(params, inputs, model)
    if clean == row["clean_sha256"] and model == row["model_sha256"] and here != row["line_fingerprint"]:
        what = "get params.yaml, data/inputs and the code of that version"
        yield _line("line_fingerprint (params, inputs, code)", row["line_fingerprint"], here, what)


def _sha256_of(inputs: Inputs, image_id: str) -> str:
    return next((image.sha256 for image in inputs.images if image.image_id == image_id), "not there")


def _line(what: str, expected: str, got: str, cure: str) -> str:
    here = f"{got[:_SHOWN]}…" if " " not in got and len(got) > _SHOWN else got
    return f"{what}: the manifest has {expected[:_SHOWN]}…, here it is {here}; {cure}"
