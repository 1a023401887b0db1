"""What the defects of a dataset look like, in a sentence each: from params, else from the file shipped for public sets.

In: params and inputs. Out: descriptions by category and defect type, and on disk as a product of the fit, so that
other words make other samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from tasks.contracts import CLEAN, TRAIN, DefectoryError
from tasks.files.json_text import write_json
from tasks.files.products import is_made, mark_made
from tasks.inputs.dataset import Inputs
from tasks.params import fingerprint
from tasks.plan import ANY_DEFECT

DESCRIPTIONS = "descriptions.json"
Descriptions = dict[str, dict[str, str]]
"""By category and defect type; the clean one is there, too."""
_SHIPPED = Path(__file__).with_name("descriptions.yaml")
_ANY = "any"


@cache
def shipped() -> Descriptions:
    """The public categories' descriptions, and those of `any` category with `{category}` to be put in."""
    return yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))


def sentence_for(category: str, defect_type: str, given: Mapping[str, Mapping[str, str]]) -> str:
    """The sentence for a type: the given one, the shipped one, that of any category, or one made of the names."""
    name = category.replace("_", " ")
    if defect_type == CLEAN:
        return f"a photo of a flawless {name}"
    for source in (given, shipped()):
        for place in (category, _ANY):
            if text := source.get(place, {}).get(defect_type):
                return text.replace("{category}", name)
    return f"a close photo of a {name} with {defect_type}".replace("_", " ")


def fit_descriptions(inputs: Inputs, given: Mapping[str, Mapping[str, str]], workdir: Path) -> Descriptions:
    """The sentences for every type that may be painted, written to `workdir`."""
    found = {
        category: {kind: sentence_for(category, kind, given) for kind in _types(inputs, category)}
        for category in inputs.categories
    }
    target, made_from = workdir / DESCRIPTIONS, fingerprint("descriptions 1", found)
    if not is_made(target, made_from):
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(target, found)
        mark_made(target, made_from)
    return found


def load_descriptions(workdir: Path) -> Descriptions:
    """Raises DefectoryError where the fit has not left them."""
    try:
        return json.loads((workdir / DESCRIPTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DefectoryError(f"{workdir / DESCRIPTIONS}: no such descriptions; run `defectory run` to fit") from None


def _types(inputs: Inputs, category: str) -> list[str]:
    return [CLEAN, *(sorted({image.defect_type for image in inputs.defects(category, TRAIN)}) or [ANY_DEFECT])]
