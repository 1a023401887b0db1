"""The texts of the card and the report, and the one way to fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    # A value that is missing is an error, not an empty place in a published text.
    undefined=StrictUndefined,
    autoescape=lambda name: str(name).endswith(".html"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, values: Mapping[str, object]) -> str:
    """The template of this folder with `values` filled in; values are escaped where the template is HTML."""
    return _ENVIRONMENT.get_template(template).render(values)
