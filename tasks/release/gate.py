"""The gate: does a built release add up? It reads what lies on disk, so that a mistake of any station shows.

In: a release's folder, the plan, the inputs and the params. Out: nothing, or one DefectoryError with every problem.

Whole categories are held to the minima that the params set for them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tasks.contracts import TRAIN, DefectoryError, ShardPlan
from tasks.files.names import LEDGER, MANIFEST, METRICS
from tasks.files.tables import read_columns, read_table
from tasks.params import Params
from tasks.release.gate_pictures import PICTURE_COLUMNS, name_some, picture_problems
from tasks.release.manifest import ACCEPTED, FAILED, LEDGER_SCHEMA, MANIFEST_SCHEMA, REJECTED, count_statuses

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs

_LISTED = [*PICTURE_COLUMNS, "category", "clean_sha256", "reference_id"]
"""What is asked of the manifest; all of its columns would be 0.5 GB for 360,000 samples."""


@dataclass(frozen=True)
class _Release:
    manifest: pd.DataFrame
    ledger: pa.Table


def check_release(folder: Path, plans: Sequence[ShardPlan], inputs: Inputs, params: Params) -> None:
    """Raise DefectoryError naming everything in `folder` that does not add up."""
    release = _Release(
        _read(folder / MANIFEST, MANIFEST_SCHEMA, _LISTED).to_pandas(),
        _read(folder / LEDGER, LEDGER_SCHEMA, LEDGER_SCHEMA.names),
    )
    problems = [
        *_plan_problems(release.ledger, plans),
        *_manifest_problems(release),
        *_share_problems(release.ledger, params),
        *score_problems(folder, params),
        *_origin_problems(release.manifest, inputs),
        *_outside_problems(release.manifest, params),
        *picture_problems(folder, release.manifest, inputs, params.adapt.feather),
    ]
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DefectoryError(f"the release does not add up:\n{listed}")


def _read(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    found = read_columns(path)
    if found != schema.names:
        raise DefectoryError(f"{path}: expected the columns {schema.names}, found {found}")
    return read_table(path, columns)


def _plan_problems(ledger: pa.Table, plans: Sequence[ShardPlan]) -> Iterator[str]:
    """Nothing vanishes: planned = accepted + rejected + failed, in every category and sample by sample."""
    planned = Counter(spec.sample_id for plan in plans for spec in plan.specs)
    found = Counter(name for name in ledger["sample_id"].to_pylist() if name is not None)
    if lost := sorted((planned - found).keys()):
        yield f"planned but not in the ledger: {name_some(lost)}"
    if surplus := sorted((found - planned).keys()):
        yield f"in the ledger more often than planned: {name_some(surplus)}"
    by_category: Counter[str] = Counter()
    for plan in plans:
        by_category[plan.category] += len(plan.specs)
    statuses = count_statuses(ledger)
    for category, count in sorted(by_category.items()):
        parts = [statuses.get(category, Counter())[status] for status in (ACCEPTED, REJECTED, FAILED)]
        if sum(parts) != count:
            yield "category {}: {} planned, but {} accepted + {} rejected + {} failed".format(category, count, *parts)


def _manifest_problems(release: _Release) -> Iterator[str]:
    listed = zip(release.ledger["sample_id"].to_pylist(), release.ledger["status"].to_pylist(), strict=True)
    accepted = {name for name, status in listed if status == ACCEPTED}
    released = release.manifest["sample_id"]
    if twice := sorted(set(released[released.duplicated()])):
        yield f"more than once in the manifest: {name_some(twice)}"
    if missing := sorted(accepted - set(released)):
        yield f"accepted but not in the manifest: {name_some(missing)}"
    if surplus := sorted(set(released) - accepted):
        yield f"in the manifest but not accepted: {name_some(surplus)}"


def _share_problems(ledger: pa.Table, params: Params) -> Iterator[str]:
    statuses = sum(count_statuses(ledger).values(), Counter())
    planned = max(statuses.total(), 1)
    accepted, failed = statuses[ACCEPTED] / planned, statuses[FAILED] / planned
    limits = params.select
    if accepted < limits.min_accepted_share:
        yield (
            f"{statuses[ACCEPTED]} of {planned} planned samples were accepted ({accepted:.1%}), fewer than "
            f"select.min_accepted_share = {limits.min_accepted_share} asks for; "
            "see in the report which rule rejects most, and change its threshold or the painting"
        )
    if failed > limits.max_failed_share:
        yield (
            f"{statuses[FAILED]} of {planned} planned samples failed ({failed:.1%}), more than "
            f"select.max_failed_share = {limits.max_failed_share} allows; the ledger has each one's error"
        )


def _origin_problems(manifest: pd.DataFrame, inputs: Inputs) -> Iterator[str]:
    """Splits do not leak: whatever shaped a sample is of the train split."""
    known = {image.image_id: image for image in inputs.images}
    rows = list(zip(manifest["sample_id"], manifest["clean_id"], manifest["clean_sha256"], strict=True))
    if unknown := [name for name, clean_id, _ in rows if clean_id not in known]:
        yield f"painted on a clean image that the inputs do not have: {name_some(unknown)}"
    rows = [row for row in rows if row[1] in known]
    if leaked := [name for name, clean_id, _ in rows if known[clean_id].split != TRAIN]:
        yield f"painted on a clean image that is not in the train split: {name_some(leaked)}"
    if other := [name for name, clean_id, sha256 in rows if known[clean_id].sha256 != sha256]:
        yield f"painted on a clean image whose SHA-256 is not that of the inputs: {name_some(other)}"
    references = zip(manifest["sample_id"], manifest["reference_id"], strict=True)
    if leaked := [name for name, reference in references if reference in known and known[reference].split != TRAIN]:
        yield f"its mask comes from a defect that is not in the train split: {name_some(leaked)}"


def _outside_problems(manifest: pd.DataFrame, params: Params) -> Iterator[str]:
    # Written so that a missing value is a problem too.
    changed = manifest[~(manifest["outside_max_abs"] <= params.select.max_outside_abs)]
    if len(changed):
        yield f"changed outside the mask and its feather ring: {name_some(list(changed['sample_id']))}"


def score_problems(folder: Path, params: Params) -> Iterator[str]:
    """One line a category and score below its minimum; a score that a category does not have is below every one."""
    limits = {name: limit for name, limit in params.select.min_category_scores.items() if limit > 0}
    if not limits:
        return
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    for category, figures in metrics["categories"].items():
        for name, limit in sorted(limits.items()):
            asked = f"select.min_category_scores asks for at least {limit:g}"
            if figures.get(name) is None:
                yield f"category {category} has no {name}, where {asked}: {_why(name, figures, params)}"
            elif figures[name] < limit:
                yield (
                    f"category {category} has the {name} {figures[name]:g}, where {asked}; "
                    "look at its sheet, then change the minimum or the painting"
                )


def _why(name: str, figures: dict[str, Any], params: Params) -> str:
    if name.startswith("is_") and name != f"is_{params.score.classifier}":
        return f"score.classifier is {params.score.classifier}; name its score, or score with the other network"
    if not figures["accepted"]:
        return "none of its samples was accepted"
    return "it takes a real defect of the train split with two accepted samples of its type nearest to it"
