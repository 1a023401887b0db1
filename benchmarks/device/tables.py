"""The page of a run: a table for every part, what failed, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOTES = {
    "hardware": "A matrix product in bfloat16 and a copy within the device's memory, bytes read and written counted.",
    "training": "Seconds a step: the median over windows of steps at whose ends the device was waited for, by the "
    "params' own sizes of a batch.",
    "line": "Images a second of each station alone, the device waited for at its end; `line` is of all stations "
    "side by side, the next shard's masks and the previous one's files beside the model. `idle` is the share of that "
    "time in which neither paint, adapt nor score ran; `busy` is what the device's driver says of its use meanwhile. "
    "`repeats`: whether a shard painted twice has the same bytes.",
    "profile": "AdaBLDM on one shard, watched: `device (s)` is the time in which its units worked, which no watching "
    "changes; what takes most is below.",
    "operations": "What takes longest on the device, and on the host, where being watched takes time, too.",
    "repeats": "Two short trainings from the same params, each with its inputs and seeds: are the files equal?",
    "batches": "AdaBLDM's painting alone, by the number of samples painted at once.",
    "pretrained": "The full architecture of Stable Diffusion 1.5 with random weights, through the project's own "
    "systems, at the params' own numbers of painting steps.",
    "networks": "Seconds of one call, by how it is computed. `forward` without gradients, `step` with an optimizer.",
    "360,000 images": "Training once, with the params' own steps, and then every image by the measured rates: "
    "embedded by the line's, the pretrained ones by the sum of paint, adapt and score.",
}


def page_of(
    title: str,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    failures: Sequence[Mapping[str, str]],
    left_out: Sequence[str],
    warnings: Sequence[str],
) -> str:
    """Markdown."""
    parts = [f"# {title}"]
    parts += [_section(name, rows) for name, rows in tables.items() if rows]
    for heading, lines in (("Left out", left_out), ("Warnings", warnings)):
        if lines:
            parts.append(f"## {heading}\n\n" + "\n".join(f"- {line}" for line in lines))
    if failures:
        blocks = [f"**{each['part']}**\n\n```\n{each['traceback'].rstrip()}\n```" for each in failures]
        parts.append("## Failed\n\n" + "\n\n".join(blocks))
    return "\n\n".join(parts) + "\n"


def _section(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    note = f"\n\n{NOTES[name]}" if name in NOTES else ""
    return f"## {name}{note}\n\n" + "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
