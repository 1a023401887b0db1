"""The table of all systems as Markdown: a row each, and below it what the columns mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.systems.results import SystemResult
from tasks.params import Params
from tasks.quality.ic_lpips import PROTOCOLS
from tasks.quality.inception_score import score_name

_NONE = "–"
_LEAST_SECONDS = 0.5
"""Less is no training."""
_EXPLANATION = """\
Every system painted the same {painted} places: the same clean images, defect types and masks; only the strength is
drawn from each system's own range.

- *Training* is the wall time of all that a system needs, what it shares with others included; the weights that ship
  with the project are not in it. *s an image* is painting and fitting in, with the models loaded.
- *IC-LPIPS* is diversity around the real training defects of a type, by {rules.network} and the protocol
  `{protocol}`: at most {rules.most} {rules.chosen} images a cluster, and a cluster of fewer than two {small}. The
  last of its columns is the mean over types. *IS* is `{score}`, in one split. With so few images both are rough, and
  not to be set beside published values.
- *Visible* is the share of images whose change inside the mask is at least {select.min_change_inside:g} grey levels and
  whose LPIPS there is at least {select.min_lpips_inside:g}; *change inside* is the mean of that change.
- *Outside change* is the largest change of any pixel beyond mask and feather, in grey levels.
- *Accepted* are the images that every rule of selection let pass, near-duplicates left out."""


def table_of(results: Sequence[SystemResult], params: Params, sheet: str, command: str) -> str:
    """`sheet` is the name of the picture beside the text, `command` what made both."""
    types = sorted({name for result in results for name in result.ic_lpips})
    names = [name.split("/", 1)[1] if _one_category(types) else name for name in types]
    heading = ["system", "trained on", "training, s", "s an image"]
    heading += [*(f"IC-LPIPS {name}" for name in names), "IC-LPIPS", "IS"]
    heading += ["visible", "outside change", "accepted", "change inside", "strength"]
    rows = [_row(result, types, len(heading)) for result in results]
    lines = [_line(heading), _line(["---"] * len(heading)), *(_line(row) for row in rows)]
    title = f"# {params.dataset.name}: the systems on the same clean images and masks"
    picture = f"![Clean images, masks, and what each system painted]({sheet})"
    return "\n".join([title, "", f"`{command}`", "", picture, "", *lines, "", _explain(results, params), ""])


def _row(result: SystemResult, types: Sequence[str], width: int) -> list[str]:
    if result.error:
        reason = " ".join(result.error.replace("|", "\\|").split())
        return [result.system, f"failed: {reason}", *[""] * (width - 2)]
    diversity = [result.ic_lpips.get(name) for name in types]
    known = [value for value in diversity if value is not None]
    nothing_to_train = result.training_seconds is not None and result.training_seconds < _LEAST_SECONDS
    return [
        result.system,
        _NONE if nothing_to_train else result.trained_on or "not recorded",
        _NONE if nothing_to_train else _number(result.training_seconds, "{:.0f}", "not recorded"),
        f"{result.seconds_an_image:.2f}",
        *(_number(value, "{:.3f}") for value in diversity),
        _number(float(np.mean(known)) if known else None, "{:.3f}"),
        f"{result.inception_score:.2f}",
        f"{result.visible_share:.0%}",
        f"{result.outside_change:g}",
        f"{result.accepted} of {result.painted}",
        f"{result.change_inside:.1f}",
        "{:g} to {:g}".format(*result.strength),
    ]


def _explain(results: Sequence[SystemResult], params: Params) -> str:
    measured = next((result for result in results if not result.error), None)
    if measured is None:
        return "No system could be measured."
    rules = PROTOCOLS[measured.protocol]
    return _EXPLANATION.format(
        painted=measured.painted,
        rules=rules,
        protocol=measured.protocol,
        small="counts as 0" if rules.below_two == "zero" else "is left out",
        score=score_name(measured.classifier),
        select=params.select,
    )


def _one_category(types: Sequence[str]) -> bool:
    return len({name.split("/", 1)[0] for name in types}) == 1


def _number(value: float | None, form: str, missing: str = _NONE) -> str:
    return missing if value is None else form.format(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
