"""A page of pictures: a row a sample with its caption below, a column a way of making or seeing it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
from PIL import ImageDraw, ImageFont

TILE = 128
"""Pixels a side of every picture on the page."""

_GAP, _MARGIN, _LINE = 3, 10, 16
_HEADING_LETTERS = 20
"""Of a line that fits above a picture."""
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 115)


@dataclass(frozen=True)
class GridRow:
    caption: str
    tiles: Sequence[PIL.Image.Image]
    """Of `TILE` pixels a side, one a heading."""


def draw_grid(title: str, headings: Sequence[str], rows: Sequence[GridRow]) -> PIL.Image.Image:
    """An RGB picture. Every row has as many tiles as there are headings; long headings go over several lines."""
    wrapped = [textwrap.wrap(heading, _HEADING_LETTERS) for heading in headings]
    first = _MARGIN + (2 + max(map(len, wrapped), default=0)) * _LINE
    step = TILE + _GAP
    height = first + len(rows) * (step + _LINE) + _MARGIN
    page = PIL.Image.new("RGB", (2 * _MARGIN + len(headings) * step - _GAP, height), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, _MARGIN - 2), title, _INK, ImageFont.load_default(15))
    for column, lines in enumerate(wrapped):
        top = first - len(lines) * _LINE
        pen.multiline_text((_MARGIN + column * step, top), "\n".join(lines), _INK, ImageFont.load_default(12))
    for number, row in enumerate(rows):
        top = first + number * (step + _LINE)
        for column, tile in zip(range(len(headings)), row.tiles, strict=True):
            page.paste(tile, (_MARGIN + column * step, top))
        pen.text((_MARGIN, top + TILE + 1), row.caption, _FAINT, ImageFont.load_default(10))
    return page
