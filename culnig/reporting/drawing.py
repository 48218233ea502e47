"""The parts that charts are drawn of: texts, lines, rectangles, tooltips, ticks of an axis, the whole.

All text is escaped here.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from culnig.core.text import visible

LETTER = 6.6
"""Average width of a letter of 12 px."""
START, MIDDLE, END = "", ' text-anchor="middle"', ' text-anchor="end"'


def nice_ticks(low: float, high: float, n: int = 6, least: float = 0.0) -> list[float]:
    """About n round numbers that enclose low and high, over a range of `least` or more."""
    if not high > low and not least:
        low, high = low - 0.5, high + 0.5
    elif high - low < least:
        low, high = low - (least - (high - low)) / 2, high + (least - (high - low)) / 2
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float], percent: bool) -> str:
    """The number at a tick, with as many digits as the step between ticks needs; the axis names its unit."""
    scaled = 100 if percent else 1
    step = abs(ticks[1] - ticks[0]) * scaled if len(ticks) > 1 else 1.0
    if not percent and (step < 1e-4 or step >= 1e6):
        return f"{value:.1e}".replace("-", "−") if abs(value) > 1e-15 else "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 2):
        digits += 1
    text = f"{value * scaled + 0.0:.{digits}f}".replace("-", "−")
    return text.lstrip("−") if float(text.replace("−", "-")) == 0 else text


def margin(least: float, labels: Sequence[str]) -> float:
    """Width of the longest label, plus `least`."""
    return least + LETTER * max(map(letters, labels), default=0)


def letters(text: str) -> float:
    """Width of a text in average Latin letters: some are wider, those of East Asia twice as wide."""
    return sum(
        2.0 if unicodedata.east_asian_width(letter) in "WF" else 1.5 if letter in _WIDE else 1.0
        for letter in visible(text)
    )


_WIDE = frozenset("MWmw@%<>+−=~&")


def text_at(kind: str, x: float, y: float, text: str, attributes: str = START) -> str:
    """A text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(visible(text))}</text>'


def line_at(kind: str, x1: float, x2: float, y1: float, y2: float, tooltip: str = "") -> str:
    """A straight line."""
    ends = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {ends}>{tooltip_of(tooltip)}</line>'


def rectangle(attributes: str, x: float, y: float, width: float, height: float, tooltip: str = "") -> str:
    """A rectangle; `attributes` begin with its class."""
    kind, _, more = attributes.partition(" ")
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"<rect {kind} {size} {more}>{tooltip_of(tooltip)}</rect>"


def tooltip_of(text: str) -> str:
    """A tooltip, as the first child of what it explains."""
    return f"<title>{escape(visible(text))}</title>" if text else ""


def drawing(width: float, height: float, parts: Sequence[str], title: str, description: str) -> Markup:
    """A whole chart, with its words for screen readers."""
    return Markup(  # all text inside was escaped above
        f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="--w:{width:.0f}" '
        f'aria-label="{escape(visible(title))}. {escape(visible(description))}">{"".join(parts)}</svg>'
    )


def spread(ys: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as possible, from the top down, so that they are `gap` apart."""
    order = np.argsort(ys, kind="stable").tolist()
    moved = [0.0] * len(ys)
    last = low - gap
    for number in order:
        moved[number] = last = max(ys[number], last + gap)
    excess = max(0.0, last - high) if order else 0.0
    return [y - excess for y in moved]
