"""Which samples a contact sheet shows, and their pictures from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import PIL.Image

from tasks.candidates.read import read_candidate_pictures
from tasks.files.pictures import decode_image, decode_mask
from tasks.release.manifest import ACCEPTED, REJECTED
from tasks.release.sheets import SheetRow, draw_sheet
from tasks.seeds import choose

if TYPE_CHECKING:
    from tasks.inputs.dataset import Inputs

_ACCEPTED_SHOWN, _REJECTED_SHOWN = 12, 6


def sheet_of(category: str, judged: pd.DataFrame, inputs: Inputs, candidates: Path) -> PIL.Image.Image:
    """The contact sheet of one category. `judged` is the scores of its samples with `status`, `rule` and `value`."""
    by_status = {status: judged[judged["status"] == status] for status in (ACCEPTED, REJECTED)}
    accepted = _rows(by_status[ACCEPTED], _ACCEPTED_SHOWN, inputs, candidates)
    rejected = _rows(by_status[REJECTED], _REJECTED_SHOWN, inputs, candidates)
    title = f"{category}: {len(by_status[ACCEPTED])} accepted, {len(by_status[REJECTED])} rejected"
    return draw_sheet(title, accepted, rejected)


def _rows(samples: pd.DataFrame, count: int, inputs: Inputs, candidates: Path) -> list[SheetRow]:
    chosen = choose(samples["sample_id"], count)
    shown = samples[samples["sample_id"].isin(chosen)]
    facts = {row["sample_id"]: row for row in shown.to_dict("records")}
    pictures = read_candidate_pictures(candidates, shown)
    return [_row(facts[sample_id], pictures[sample_id], inputs) for sample_id in chosen]


def _row(facts: dict[Any, Any], pictures: dict[str, Any], inputs: Inputs) -> SheetRow:
    return SheetRow(
        caption=_caption(facts),
        clean=inputs.by_id(facts["clean_id"]).image,
        intended=decode_mask(pictures["mask"]),
        effective=decode_mask(pictures["effective_mask"]),
        result=decode_image(pictures["image"]),
    )


def _caption(facts: dict[Any, Any]) -> str:
    drawn = f"{facts['defect_type']}, mask: {facts['mask_source']}, strength {facts['strength']:.2f}"
    made = f"{facts['sample_id']}   {drawn}"
    if facts["status"] == REJECTED:
        return f"{made}   rejected: {facts['rule']} ({facts['value']:.3g})"
    return f"{made}   change {facts['change_inside']:.1f}, LPIPS inside {facts['lpips_inside']:.3f}"
