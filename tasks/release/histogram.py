"""Histograms as inline SVG: accepted samples below, rejected ones stacked on top, and the threshold as a line.

In: numbers. Out: markup that takes its colours from the page's style, so that it can be read by day and by night.
"""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BINS = 340, 130, 28
_BASE = 100
"""Where the axis lies, from the top; below it are its numbers."""
_TOP = 14


def histogram(title: str, accepted: NDArray[np.float64], rejected: NDArray[np.float64], threshold: float | None) -> str:
    """An SVG element; without numbers that are not finite; those above the 99th percentile share the last bin."""
    values = np.concatenate([accepted, rejected])
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    low, high = _range(values, threshold)
    edges = np.linspace(low, high, _BINS + 1)
    counts = [_count(part, edges) for part in (accepted, rejected)]
    body = [_bars(counts[0], np.zeros(_BINS), counts, "accepted"), _bars(counts[1], counts[0], counts, "rejected")]
    body.append(f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_BASE}" y2="{_BASE}"/>')
    body += [_label(0, "start", f"{low:.3g}"), _label(_WIDTH, "end", f"{high:.3g}")]
    if threshold is not None:
        body.append(_threshold(threshold, (threshold - low) / (high - low) * _WIDTH))
    heading = f'<text class="title" x="0" y="10">{escape(title)}</text>'
    name = escape(title, quote=True)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{heading}{"".join(body)}</svg>'


def _range(values: NDArray[np.float64], threshold: float | None) -> tuple[float, float]:
    ends = [float(values.min()), float(np.percentile(values, 99))]
    if threshold is not None:
        ends.append(threshold)
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _count(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = values[np.isfinite(values)]
    return np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0].astype(float)


def _bars(counts: NDArray[np.float64], below: NDArray[np.float64], both: list[NDArray[np.float64]], kind: str) -> str:
    scale = (_BASE - _TOP) / max(float((both[0] + both[1]).max()), 1.0)
    width = _WIDTH / _BINS
    return "".join(
        f'<rect class="{kind}" x="{place * width + 0.5:.1f}" width="{width - 1:.1f}" '
        f'y="{_BASE - (count + base) * scale:.1f}" height="{count * scale:.1f}"/>'
        for place, (count, base) in enumerate(zip(counts, below, strict=True))
        if count
    )


def _label(x: float, anchor: str, text: str) -> str:
    return f'<text class="number" x="{x:.1f}" y="{_BASE + 12}" text-anchor="{anchor}">{text}</text>'


def _threshold(value: float, x: float) -> str:
    anchor = "start" if x < _WIDTH * 0.2 else "end" if x > _WIDTH * 0.8 else "middle"
    text = f'<text class="limit" x="{x:.1f}" y="{_BASE + 25}" text-anchor="{anchor}">threshold {value:.3g}</text>'
    return f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BASE + 4}"/>{text}'
