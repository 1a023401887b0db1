"""Contact sheets of a diff: two pictures a sample, side by side under its name.

In: pictures of the samples that were added, removed or changed. Out: one picture. Which samples are shown is chosen by
a hash of their names (see `tasks.seeds.choose`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
from PIL import ImageDraw, ImageFont

from tasks.contracts import Image

_TILE, _GAP, _LINE, _MARGIN, _ACROSS = 160, 4, 16, 14, 3
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 115)
_WIDTH, _HEIGHT = 2 * (_TILE + _GAP) + 3 * _GAP, _TILE + 2 * _LINE + 2 * _GAP
"""Of a pair with its captions."""


@dataclass(frozen=True)
class Pair:
    """One sample as the sheet shows it. Its pictures are of one size."""

    name: str
    caption: str
    left: Image
    right: Image


def draw_pairs(title: str, headings: tuple[str, str], pairs: Sequence[Pair]) -> PIL.Image.Image:
    """The sheet, an RGB picture; `headings` say what the left and the right pictures are."""
    across = min(_ACROSS, len(pairs))
    height = 2 * _MARGIN + 3 * _LINE + -(-len(pairs) // _ACROSS) * _HEIGHT
    title_width = int(_font(18).getlength(title))
    sheet = PIL.Image.new("RGB", (2 * _MARGIN + max(across * _WIDTH, title_width), height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), title, _INK, _font(18))
    for column in range(across):
        for place, heading in enumerate(headings):
            left = _MARGIN + column * _WIDTH + place * (_TILE + _GAP)
            pen.text((left, _MARGIN + 2 * _LINE), heading, _FAINT, _font(11))
    for number, pair in enumerate(pairs):
        left = _MARGIN + number % _ACROSS * _WIDTH
        _draw_pair(sheet, left, _MARGIN + 3 * _LINE + number // _ACROSS * _HEIGHT, pair)
    return sheet


def _draw_pair(sheet: PIL.Image.Image, left: int, top: int, pair: Pair) -> None:
    for place, picture in enumerate((pair.left, pair.right)):
        tile = PIL.Image.fromarray(picture).resize((_TILE, _TILE), PIL.Image.Resampling.LANCZOS)
        sheet.paste(tile, (left + place * (_TILE + _GAP), top))
    pen = ImageDraw.Draw(sheet)
    pen.text((left, top + _TILE + 1), pair.name, _INK, _font(11))
    pen.text((left, top + _TILE + _LINE - 1), pair.caption, _FAINT, _font(11))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no machine's fonts show."""
    return ImageFont.load_default(size)
