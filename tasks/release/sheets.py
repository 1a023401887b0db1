"""Contact sheets: clean image, mask, result and difference side by side, accepted samples first, then rejected ones.

In: samples' pictures. Out: one picture a category. The samples shown are chosen by a hash of their names, never by
hand and never by their scores.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from tasks.contracts import Image, Mask

AMPLIFICATION = 4
"""Of the difference, which is small and would look black."""

_HEADINGS = ("clean", "mask: changed / intended", "result", f"difference x {AMPLIFICATION}")
_TILE, _GAP, _LINE, _MARGIN = 192, 6, 17, 14
_ACROSS = 2
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 28, 30), (110, 110, 115)
_GREEN, _RED = (26, 122, 62), (178, 44, 36)
_ROW_HEIGHT = _TILE + _LINE + 2 * _GAP
_ROW_WIDTH = len(_HEADINGS) * (_TILE + _GAP) - _GAP


@dataclass(frozen=True)
class SheetRow:
    """One sample as the sheet shows it. Its three pictures and two masks are of one size."""

    caption: str
    clean: Image
    intended: Mask
    effective: Mask
    result: Image


def draw_sheet(title: str, accepted: Sequence[SheetRow], rejected: Sequence[SheetRow]) -> PIL.Image.Image:
    """The sheet, an RGB picture: a strip of accepted samples and, where there are any, one of rejected samples."""
    strips = [("accepted", _GREEN, accepted), ("rejected, with the rule that did it", _RED, rejected)]
    strips = [strip for strip in strips if strip[2]]
    height = 2 * _MARGIN + 2 * _LINE + sum(_strip_height(rows) for _, _, rows in strips)
    width = 2 * _MARGIN + _ACROSS * _ROW_WIDTH + (_ACROSS - 1) * 3 * _GAP
    sheet = PIL.Image.new("RGB", (width, height), _PAPER)
    ImageDraw.Draw(sheet).text((_MARGIN, _MARGIN), title, _INK, _font(18))
    top = _MARGIN + 2 * _LINE
    for heading, colour, rows in strips:
        _draw_strip(sheet, top, heading, colour, rows)
        top += _strip_height(rows)
    return sheet


def encode_sheet(sheet: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _strip_height(rows: Sequence[SheetRow]) -> int:
    return 3 * _LINE + -(-len(rows) // _ACROSS) * _ROW_HEIGHT


def _draw_strip(
    sheet: PIL.Image.Image, top: int, heading: str, colour: tuple[int, int, int], rows: Sequence[SheetRow]
) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, top), heading, colour, _font(14))
    for column in range(min(_ACROSS, len(rows))):
        for place, name in enumerate(_HEADINGS):
            pen.text((_left(column) + place * (_TILE + _GAP), top + _LINE + 4), name, _FAINT, _font(11))
    for number, row in enumerate(rows):
        _draw_row(sheet, _left(number % _ACROSS), top + 2 * _LINE + 4 + number // _ACROSS * _ROW_HEIGHT, row)


def _left(column: int) -> int:
    return _MARGIN + column * (_ROW_WIDTH + 3 * _GAP)


def _draw_row(sheet: PIL.Image.Image, left: int, top: int, row: SheetRow) -> None:
    tiles = (row.clean, _both_masks(row.intended, row.effective), row.result, amplify(row.clean, row.result))
    for place, tile in enumerate(tiles):
        sheet.paste(_fit(tile), (left + place * (_TILE + _GAP), top))
    ImageDraw.Draw(sheet).text((left, top + _TILE + 2), row.caption, _INK, _font(11))


def amplify(clean: Image, result: Image) -> Image:
    """The absolute difference of two images, times `AMPLIFICATION` and cut off at white."""
    difference = np.abs(result.astype(np.int16) - clean.astype(np.int16)) * AMPLIFICATION
    return np.minimum(difference, 255).astype(np.uint8)


def _both_masks(intended: Mask, effective: Mask) -> Image:
    grey = np.where(effective, 255, np.where(intended, 105, 0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _fit(tile: Image) -> PIL.Image.Image:
    return PIL.Image.fromarray(tile).resize((_TILE, _TILE), PIL.Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no machine's fonts show."""
    return ImageFont.load_default(size)
