from pathlib import Path

import pandas as pd
import pytest
import yaml

from tasks.release.card import build_card
from tasks.release.metrics import build_metrics
from tasks.release.summary import Facts, sources_of
from tests.factories import make_params

MADE = pd.DataFrame(
    [("s1", "CC-BY-4.0", "a", "a/1"), ("s1", "CC-BY-4.0", "a", "a/1"), ("s2", "GIMP patterns", "b", "b/1")],
    columns=["source", "license", "category", "clean_id"],
)
NUMBERS = dict.fromkeys(
    ("lpips_to_clean", "lpips_inside", "change_inside", "seam_contrast", "effective_share", "nearest_real_lpips"), 1.0
)


def facts(made: pd.DataFrame) -> Facts:
    params = make_params()
    nothing = pd.DataFrame(
        [{"category": "a", "status": "rejected", "rule": "max_seam_contrast", "nearest_lpips": float("nan"), **NUMBERS}]
    )
    metrics = build_metrics(params, nothing, 0, lambda samples: pytest.fail("no sample, no logits"))
    return Facts(params, "make", metrics, nothing, sources_of(made), (), (), Path("none"))


def front_matter(card: str) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return loaded


def test_sources_are_counted_by_source_licence_and_category() -> None:
    first, second = sources_of(MADE)
    assert (first.source, first.cleans, first.samples) == ("s1", 1, 2)
    assert (second.license, second.cleans, second.samples) == ("GIMP patterns", 1, 1)


def test_a_licence_that_hubs_do_not_know_is_other_and_named() -> None:
    front = front_matter(build_card(facts(MADE)))
    assert front["license"] == ["cc-by-4.0", "other"]
    assert front["license_name"] == "GIMP patterns"


@pytest.mark.parametrize(
    ("license_name", "warned"),
    [("CC-BY-NC-SA-4.0", True), ("CC BY-NC 4.0", True), ("CC-BY-4.0", False), ("NCSA", False), ("unknown", False)],
)
def test_non_commercial_licences_are_said_aloud(license_name: str, warned: bool) -> None:
    card = build_card(facts(MADE.assign(license=license_name)))
    assert ("non-commercial use only" in card) == warned


def test_a_release_without_a_sample_still_has_a_card() -> None:
    card = build_card(facts(MADE[:0]))
    assert front_matter(card)["license"] == ["unknown"]
    assert "| a | 1 | 0 | 1 | 0 | - |" in card
    assert "| `max_seam_contrast` | 1 | 3.0 |" in card
