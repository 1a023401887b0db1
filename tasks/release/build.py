"""The release: thresholds on scores, then everything that is published, checked before it takes its place.

In: finished candidates. Out: image shards, manifest, ledger, figures, sheets, card and report in one folder. It needs
no GPU and repaints nothing, so thresholds can be tried at will. The release before stays until the new one has passed
the gate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tasks.candidates.read import has_its_scores, is_done, read_logits
from tasks.contracts import DefectoryError, ShardPlan
from tasks.files import folders
from tasks.files.atomic import write_atomic
from tasks.files.names import LEDGER, MANIFEST, METRICS, PSEUDO_MASKS
from tasks.files.tables import encode_table
from tasks.params import Params
from tasks.plan import line_fingerprint
from tasks.quality.nearest_real import read_real_descriptors
from tasks.release.card import build_card
from tasks.release.checksums import write_checksums
from tasks.release.diversity import diversity_of
from tasks.release.gate import check_release
from tasks.release.judge import judge_candidates
from tasks.release.manifest import ACCEPTED, FAILED, REJECTED, build_ledger, build_manifest
from tasks.release.metrics import build_metrics
from tasks.release.pack import PACKED_FROM, pack_shards
from tasks.release.report import SHEET_QUALITY, build_report, data_uri
from tasks.release.rule_examples import examples_of
from tasks.release.sheet_rows import sheet_of
from tasks.release.sheets import encode_sheet
from tasks.release.summary import Facts, sources_of
from tasks.wording import first_few

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs


@dataclass(frozen=True)
class ReleaseReport:
    """What a release came to. `metrics` is what metrics.json holds."""

    folder: Path
    planned: int
    accepted: int
    rejected: int
    failed: int
    metrics: dict[str, Any]


def build_release(
    params: Params, inputs: Inputs, plans: Sequence[ShardPlan], candidates_dir: Path, out: Path, command: str
) -> ReleaseReport:
    """Build the release of `plans` in `out` and return its counts.

    `candidates_dir` is the workspace's folder of candidates; reports of the stations before lie beside it. `command`
    is printed in the card. Raises DefectoryError, with `out` as it was before, where shards are unfinished or damaged
    or the gate refuses; what it refused then lies beside `out` to be looked at.
    """
    check_finished(candidates_dir, plans)
    judged = judge_candidates(candidates_dir, plans, params, read_real_descriptors(candidates_dir, inputs.sha256))
    facts = _gather(params, inputs, judged, candidates_dir, command)
    building = folders.begin(out)
    _write(building, facts, inputs, plans, candidates_dir)
    try:
        check_release(building, plans, inputs, params)
    except DefectoryError as error:
        refused = folders.refuse(building, out)
        raise DefectoryError(f"{error}\nThe release before is untouched; the refused one is in {refused}") from None
    folders.swap_in(building, out)
    planned, accepted, rejected, failed = (facts.metrics[name] for name in ("planned", ACCEPTED, REJECTED, FAILED))
    return ReleaseReport(out, planned, accepted, rejected, failed, facts.metrics)


def check_finished(candidates: Path, plans: Sequence[ShardPlan]) -> None:
    """Raise DefectoryError naming shards that are not done, or whose scores are not those that were written.

    Pictures are compared with the hashes among their scores when they are packed; for the scores nobody else vouches.
    """
    open_shards = [plan.name for plan in plans if not is_done(candidates, plan)]
    if open_shards:
        raise DefectoryError(
            f"{len(open_shards)} of {len(plans)} shards are not finished "
            f"({', '.join(first_few(open_shards))}); run `defectory resume`, then release again"
        )
    damaged = [plan.name for plan in plans if not has_its_scores(candidates, plan)]
    if damaged:
        raise DefectoryError(
            f"the scores of {len(damaged)} of {len(plans)} shards are damaged "
            f"({', '.join(first_few(damaged))}); run `defectory verify`, then `defectory run`"
        )


def _gather(params: Params, inputs: Inputs, judged: pd.DataFrame, candidates: Path, command: str) -> Facts:
    workspace, accepted = candidates.parent, judged[judged["status"] == ACCEPTED]
    diversity = diversity_of(params, accepted, inputs, candidates)
    return Facts(
        params=params,
        command=command,
        metrics=build_metrics(params, judged, len(inputs.skipped), partial(read_logits, candidates), diversity),
        judged=judged,
        sources=sources_of(accepted),
        skipped=tuple(inputs.skipped),
        warnings=_read_warnings(workspace / "inputs" / "report.json"),
        pseudo_masks=workspace / "models" / PSEUDO_MASKS,
    )


def _read_warnings(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(str(warning) for warning in json.loads(path.read_text(encoding="utf-8"))["warnings"])


def _write(folder: Path, facts: Facts, inputs: Inputs, plans: Sequence[ShardPlan], candidates: Path) -> None:
    pack_shards(candidates, plans, _write_manifest(folder, facts, inputs), folder / "images")
    write_atomic(folder / LEDGER, encode_table(build_ledger(facts.judged, facts.skipped)))
    write_atomic(folder / METRICS, (json.dumps(facts.metrics, indent=1) + "\n").encode())
    rules = examples_of(facts.params.select, facts.judged, inputs, candidates)
    shown = {}
    for category, judged in facts.judged.groupby("category", sort=True):
        sheet = sheet_of(str(category), judged, inputs, candidates)
        write_atomic(folder / "sheets" / f"{category}.png", encode_sheet(sheet))
        shown[str(category)] = data_uri(sheet, SHEET_QUALITY)
    write_atomic(folder / "README.md", build_card(facts).encode())
    write_atomic(folder / "report.html", build_report(facts, shown, rules).encode())
    write_checksums(folder)


def _write_manifest(folder: Path, facts: Facts, inputs: Inputs) -> pa.Table:
    """Write it, and return what packing asks of it."""
    accepted = facts.judged[facts.judged["status"] == ACCEPTED]
    made_with = {model: line_fingerprint(facts.params, inputs, model) for model in accepted["model_sha256"].unique()}
    manifest = build_manifest(accepted.assign(line_fingerprint=accepted["model_sha256"].map(made_with)))
    write_atomic(folder / MANIFEST, encode_table(manifest))
    return manifest.select(PACKED_FROM)
