"""The dataset card: README.md with the front matter that dataset hubs read, and what a user must know before use.

In: facts. Out: text. It names the network of every score, the licence of every source and the limits of the labels.
"""

from __future__ import annotations

from typing import Any

import yaml

from tasks.release.metrics import score_key
from tasks.release.summary import Facts
from tasks.release.templates import render

_HUB_LICENSES = frozenset(
    {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "unknown"}
)
"""Those of the hub's names for licences that photographs come under; any other is `other`."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def build_card(facts: Facts) -> str:
    """The card as Markdown with YAML front matter."""
    front_matter = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    key = score_key(facts.params)
    return render("card.md", {"front_matter": front_matter, "facts": facts, "score_key": key})


def _front_matter(facts: Facts) -> dict[str, Any]:
    names = [name.lower() for name in facts.licenses]
    licenses = sorted({name if name in _HUB_LICENSES else "other" for name in names}) or ["unknown"]
    front: dict[str, Any] = {"pretty_name": facts.params.dataset.name, "license": licenses}
    if "other" in licenses:
        front["license_name"] = "; ".join(name for name in facts.licenses if name.lower() not in _HUB_LICENSES)
    return front | {
        "task_categories": ["image-segmentation"],
        "tags": ["anomaly-detection", "industrial-inspection", "synthetic"],
        "size_categories": [_size(facts.metrics["accepted"])],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "images/*/*.parquet"}]}],
    }


def _size(count: int) -> str:
    return next((name for limit, name in _SIZES if count < limit), "n>1M")
