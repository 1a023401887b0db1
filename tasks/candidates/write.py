"""One finished shard of candidates to disk: pictures, scores, and last of all the done-marker.

In: a plan, its candidates and its failures, which together are all of the plan's samples. Out: byte-stable files; the
same shard written twice, or after a crash at any point, has the same SHA-256. Measured time is therefore not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.candidates.files import IMAGES_SCHEMA, SCORES, SCORES_SCHEMA, shard_files
from tasks.contracts import Candidate, DefectoryError, Failure, SampleSpec, ShardPlan
from tasks.files.atomic import remove, write_atomic
from tasks.files.hashing import sha256
from tasks.files.json_text import json_bytes
from tasks.files.pictures import encode_image, encode_mask
from tasks.files.tables import IMAGE_ROWS, encode_table


def write_shard(root: Path, plan: ShardPlan, candidates: Sequence[Candidate], failures: Sequence[Failure]) -> None:
    """Write the shard's files below `root`, the done-marker last.

    Raises DefectoryError when candidates and failures are not exactly the plan's samples, or the disk refuses.
    """
    _check_complete(plan, candidates, failures)
    pictures = {candidate.spec.sample_id: _pictures(candidate) for candidate in candidates}
    rows = [_scored(plan, candidate, pictures[candidate.spec.sample_id]) for candidate in candidates]
    rows += [_spec(failure.spec) | {"error": f"{failure.station}: {failure.error}"} for failure in failures]
    rows.sort(key=lambda row: row["index"])
    made = [pictures[row["sample_id"]] for row in rows if row["sample_id"] in pictures]
    images = encode_table(pa.Table.from_pylist(made, IMAGES_SCHEMA), IMAGE_ROWS)
    scores = encode_table(pa.Table.from_pylist(rows, SCORES_SCHEMA))
    files = shard_files(root, plan)
    # An older marker would vouch for the new files while they are half written.
    remove(files.marker)
    write_atomic(files.images, images)
    write_atomic(files.scores, scores)
    record = {
        path.name: {"bytes": len(data), "sha256": sha256(data)}
        for path, data in zip(files.data, (images, scores), strict=True)
    }
    write_atomic(files.marker, _marker(plan, record, len(candidates), len(failures)))


def _marker(plan: ShardPlan, files: dict[str, dict[str, Any]], painted: int, failed: int) -> bytes:
    content = {"fingerprint": plan.fingerprint, "files": files, "painted": painted, "failed": failed}
    return json_bytes(content)


def _check_complete(plan: ShardPlan, candidates: Sequence[Candidate], failures: Sequence[Failure]) -> None:
    planned = sorted(spec.sample_id for spec in plan.specs)
    given = sorted([made.spec.sample_id for made in candidates] + [lost.spec.sample_id for lost in failures])
    if planned == given:
        return
    missing = sorted(set(planned) - set(given))
    strange = sorted(set(given) - set(planned))
    twice = sorted({sample_id for sample_id in given if given.count(sample_id) > 1})
    raise DefectoryError(
        f"shard {plan.name}: expected each of its {len(planned)} planned samples once, as candidate or failure; "
        f"missing {missing}, not planned {strange}, given twice {twice}"
    )


def _pictures(candidate: Candidate) -> dict[str, Any]:
    return {
        "sample_id": candidate.spec.sample_id,
        "image": encode_image(candidate.image),
        "mask": encode_mask(candidate.mask),
        "effective_mask": encode_mask(candidate.effective_mask),
    }


def _spec(spec: SampleSpec) -> dict[str, Any]:
    return {
        "sample_id": spec.sample_id,
        "dataset": spec.dataset,
        "category": spec.category,
        "defect_type": spec.defect_type,
        "index": spec.index,
        "clean_id": spec.clean_id,
        "mask_source": spec.mask_source,
        "system": spec.system,
        "strength": spec.strength,
        "seed": spec.seed,
    }


def _scored(plan: ShardPlan, candidate: Candidate, pictures: dict[str, Any]) -> dict[str, Any]:
    height, width = candidate.mask.shape
    return {
        **_spec(candidate.spec),
        "reference_id": candidate.reference_id,
        "clean_sha256": candidate.clean_sha256,
        "license": candidate.license,
        "source": candidate.source,
        "prompt": candidate.prompt,
        "model_sha256": candidate.model_sha256,
        "params_fingerprint": plan.fingerprint,
        "width": width,
        "height": height,
        **{f"{name}_sha256": sha256(pictures[name]) for name in ("image", "mask", "effective_mask")},
        **{name: candidate.scores[name] for name in SCORES},
        "logits": candidate.logits.astype("float16"),
        "descriptor": candidate.descriptor.astype("float16"),
    }
