"""Drawings of a report as inline SVG.

Colours are classes of the style sheet, so a drawing follows the page from light to dark. A cell's place on a
scale is the variable `--t`, 0 to 1. Every drawing has a title and a description for those who cannot see it,
and every mark a tooltip with its numbers. Texts are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

_LETTER = 6.6
"""Width of a letter of 12 px on average."""


@dataclass(frozen=True)
class Mark:
    """A value with an interval."""

    kind: str
    """Class of the style sheet: `effect`, `against` or `random`."""
    value: float
    interval: tuple[float, float] | None
    tooltip: str


@dataclass(frozen=True)
class MarkRow:
    """One line of a drawing of intervals."""

    label: str
    marks: Sequence[Mark]
    group: str = ""
    """Heading above the first row of each group."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    description: str,
    form: Callable[[float], str] = "{:.3g}".format,
    diverging: bool = False,
    numbers: bool = False,
    cell: tuple[int, int] = (22, 22),
    column_step: int = 1,
    limit: float | None = None,
    axis: str = "",
    names: Sequence[str] = (),
) -> Markup:
    """Cells on one scale: from 0 up, or with `diverging` from −limit over 0 to +limit.

    `numbers` writes the values into the cells, but no zero of a scale that begins there. `column_step` labels
    every so many columns; `names` are longer names of columns for tooltips; `limit` is
    the end of the scale, by default the largest value. NaN cells are left empty.
    """
    width, height = cell
    flat = np.abs(values[np.isfinite(values)])
    most = limit if limit is not None else float(flat.max()) if flat.size else 1.0
    most = most or 1.0
    left = 14 + _LETTER * max([len(label) for label in rows] or [0])
    long = max([len(label) for label in columns] or [0]) > 3
    top = 12 + (_LETTER * 0.8 * max(len(label) for label in columns) if long and columns else 14)
    parts = []
    for place, label in enumerate(rows):
        y = top + place * height + height / 2
        parts.append(f'<text class="label" x="{left - 8:.0f}" y="{y + 4:.1f}" {_END}>{escape(label)}</text>')
    for place in range(0, len(columns), column_step):
        x = left + place * width + width / 2
        turn = f' transform="rotate(-55 {x:.1f} {top - 6:.1f})"' if long else ' text-anchor="middle"'
        parts.append(
            f'<text class="label" x="{x:.1f}" y="{top - 6:.1f}"{turn}>{escape(columns[place])}</text>'
        )
    for row, label in enumerate(rows):
        for column, name in enumerate(names or columns):
            value = float(values[row, column])
            x, y = left + column * width, top + row * height
            share = min(1.0, abs(value) / most) if math.isfinite(value) else 0.0
            text = _said(form, value) if math.isfinite(value) else "no data"
            kind = _cell_class(value, share, diverging)
            within = share * 2 % 1 if kind in ("q0", "q1") and share < 1 else share
            parts.append(
                f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width - 1}" height="{height - 1}" '
                f'style="--t:{within:.3g}"><title>{escape(label)}, {escape(name)}: {escape(text)}</title>'
                "</rect>"
            )
            if numbers and math.isfinite(value) and (value or diverging):
                strong = " strong" if share > 0.6 else ""
                parts.append(
                    f'<text class="value{strong}" x="{x + width / 2 - 0.5:g}" y="{y + height / 2 + 4:g}">'
                    f"{escape(text)}</text>"
                )
    bottom = top + len(rows) * height + 12
    right = left + len(columns) * width
    if axis:
        parts.append(f'<text class="label" x="{left:.0f}" y="{bottom + 4:.0f}">{escape(axis)}</text>')
    parts.append(_scale(right, bottom + 18, most, form, diverging))
    slack = _LETTER * 0.6 * max([len(label) for label in columns] or [0]) if long else 0
    full = max(right + slack, _SCALE_WIDTH + 20) + 8
    return _svg(full, bottom + 44, parts, title, description)


_END = 'text-anchor="end"'
_SCALE_WIDTH = 260


def _said(form: Callable[[float], str], value: float) -> str:
    """A number with a real minus sign, but not in an exponent."""
    text = form(value)
    return "−" + text[1:] if text.startswith("-") else text


def _cell_class(value: float, share: float, diverging: bool) -> str:
    if not math.isfinite(value):
        return "none"
    if diverging:
        return "negative" if value < 0 else "positive"
    return "q1" if share >= 0.5 else "q0"


def _scale(right: float, y: float, most: float, form: Callable[[float], str], diverging: bool) -> str:
    """The colours of a heat map with the values at their ends, against its right edge."""
    steps = 24
    width = 5
    start = max(60.0, right - 56 - steps * width)
    parts = []
    for step in range(steps):
        share = step / (steps - 1)
        value = 2 * share - 1 if diverging else share
        kind = _cell_class(value, abs(value), diverging)
        within = share * 2 % 1 if not diverging and share < 1 else abs(value)
        parts.append(
            f'<rect class="{kind}" x="{start + step * width:.1f}" y="{y}" width="{width}" height="10" '
            f'style="--t:{within:.3g}"/>'
        )
    low = _said(form, -most) if diverging else form(0.0)
    parts.append(f'<text class="tick" x="{start - 6:.1f}" y="{y + 9}" {_END}>{escape(low)}</text>')
    end = start + steps * width + 6
    parts.append(f'<text class="tick" x="{end:.1f}" y="{y + 9}">{escape(form(most))}</text>')
    return "".join(parts)


def intervals(rows: Sequence[MarkRow], *, title: str, description: str, axis: str, percent: bool) -> Markup:
    """Marks with intervals on one axis with zero on it, a row each."""
    left = 24 + _LETTER * max([len(row.label) for row in rows] or [0])
    plot, height = 560.0, 24
    ends = [0.0]
    for row in rows:
        for mark in row.marks:
            ends += [mark.value, *(mark.interval or ())]
    ticks = nice_ticks(min(ends), max(ends))
    low, high = ticks[0], ticks[-1]

    def across(value: float) -> float:
        return left + plot * (value - low) / (high - low)

    parts: list[str] = []
    y, group = 10.0, ""
    body = []
    for row in rows:
        if row.group != group:
            group = row.group
            y += 20
            body.append(f'<text class="heading" x="4" y="{y - 4:.0f}">{escape(group)}</text>')
        middle = y + height / 2
        body.append(
            f'<text class="label" x="{left - 10:.0f}" y="{middle + 4:.0f}" {_END}>{escape(row.label)}</text>'
        )
        body.append(
            f'<line class="rule" x1="{left:.0f}" x2="{left + plot:.0f}" y1="{middle}" y2="{middle}"/>'
        )
        body += [_mark(mark, across, middle) for mark in row.marks]
        y += height
    for tick in ticks:
        x = across(tick)
        kind = "zero" if abs(tick) < 1e-12 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{y + 2:.0f}"/>')
        text = _tick_text(tick, ticks, percent)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y + 18:.0f}" text-anchor="middle">{text}</text>')
    parts += body
    middle = left + plot / 2
    parts.append(
        f'<text class="label" x="{middle:.0f}" y="{y + 38:.0f}" text-anchor="middle">{escape(axis)}</text>'
    )
    return _svg(left + plot + 30, y + 48, parts, title, description)


_LIFT = {"effect": -3.5, "against": 4.5, "random": -3.5}


def _mark(mark: Mark, across: Callable[[float], float], middle: float) -> str:
    y = middle + _LIFT[mark.kind]
    x = across(mark.value)
    tip = f"<title>{escape(mark.tooltip)}</title>"
    if mark.kind == "random":
        return f'<line class="random" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + 4}">{tip}</line>'
    drawn = ""
    if mark.interval is not None:
        start, stop = map(across, mark.interval)
        drawn = f'<line class="{mark.kind}" x1="{start:.1f}" x2="{stop:.1f}" y1="{y}" y2="{y}"/>'
    return f'<g>{tip}{drawn}<circle class="{mark.kind}" cx="{x:.1f}" cy="{y}" r="4"/></g>'


def lines(
    drawn: Sequence[Line], *, title: str, description: str, x_axis: str, y_axis: str, percent: bool = False
) -> Markup:
    """Lines over a common x, named at the right; up to seven are told apart by colour and dash."""
    left, top, width, height = 64.0, 16.0, 640.0, 260.0
    xs = [x for line in drawn for x in line.x]
    ys = [y for line in drawn for y in line.y] + [0.0]
    x_ticks, y_ticks = nice_ticks(min(xs), max(xs), 8), nice_ticks(min(ys), max(ys), 5)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)

    def across(x: float) -> float:
        return left + width * (x - x_low) / (x_high - x_low)

    def up(y: float) -> float:
        return top + height * (1 - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]))

    parts = []
    for tick in y_ticks:
        kind = "zero" if abs(tick) < 1e-12 else "grid"
        text = _tick_text(tick, y_ticks, percent)
        parts.append(
            f'<line class="{kind}" x1="{left}" x2="{left + width}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
            f'<text class="tick" x="{left - 8}" y="{up(tick) + 4:.1f}" {_END}>{text}</text>'
        )
    for tick in x_ticks:
        if x_low - 1e-12 <= tick <= x_high + 1e-12:
            text = _tick_text(tick, x_ticks, False)
            parts.append(
                f'<text class="tick" x="{across(tick):.1f}" y="{top + height + 18}" text-anchor="middle">'
                f"{text}</text>"
            )
    for number, line in enumerate(drawn):
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="line c{number % 7}" points="{points}"/>')
        for x, y in zip(line.x, line.y, strict=True):
            value = f"{y:+.2%}" if percent else f"{y:.4g}"
            parts.append(
                f'<circle class="dot c{number % 7}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3">'
                f"<title>{escape(line.label)}, {escape(x_axis)} {x:g}: {value}</title></circle>"
            )
    places = _apart([up(line.y[-1]) for line in drawn], 15, top + 6, top + height)
    for number, (line, y) in enumerate(zip(drawn, places, strict=True)):
        x = left + width + 12
        parts.append(
            f'<line class="line c{number % 7}" x1="{x}" x2="{x + 18}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="label" x="{x + 24}" y="{y + 4:.1f}">{escape(line.label)}</text>'
        )
    parts.append(
        f'<text class="label" x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">'
        f"{escape(x_axis)}</text>"
        f'<text class="label" x="14" y="{top + height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {top + height / 2})">{escape(y_axis)}</text>'
    )
    names = _LETTER * max([len(line.label) for line in drawn] or [0])
    return _svg(left + width + 46 + names, top + height + 48, parts, title, description)


def bars(
    labels: Sequence[str], shares: Sequence[float], tooltips: Sequence[str], *, title: str, description: str
) -> Markup:
    """Shares of 1, a bar each."""
    left, plot, height = 16 + _LETTER * max([len(label) for label in labels] or [0]), 420.0, 22
    parts = []
    for place, (label, share, tip) in enumerate(zip(labels, shares, tooltips, strict=True)):
        y = 4 + place * height
        parts.append(
            f'<text class="label" x="{left - 8:.0f}" y="{y + 15}" {_END}>{escape(label)}</text>'
            f'<rect class="track" x="{left:.0f}" y="{y + 3}" width="{plot}" height="{height - 7}" rx="2"/>'
            f'<rect class="bar" x="{left:.0f}" y="{y + 3}" width="{plot * share:.1f}" height="{height - 7}" '
            f'rx="2"><title>{escape(tip)}</title></rect>'
            f'<text class="tick" x="{left + plot + 8:.0f}" y="{y + 15}">{share:.1%}</text>'
        )
    return _svg(left + plot + 70, 10 + len(labels) * height, parts, title, description)


def nice_ticks(low: float, high: float, n: int = 6) -> list[float]:
    """About n round numbers that enclose low and high."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _tick_text(value: float, ticks: Sequence[float], percent: bool) -> str:
    scaled = 100 if percent else 1
    step = abs(ticks[1] - ticks[0]) * scaled
    if not percent and (step < 1e-4 or step >= 1e6):
        return f"{value:.1e}".replace("-", "−") if abs(value) > 1e-15 else "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 2):
        digits += 1
    text = f"{value * scaled + 0.0:.{digits}f}".replace("-", "−")
    text = text.lstrip("−") if float(text.replace("−", "-")) == 0 else text
    return text + (" %" if percent else "")


def _apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved as little as needed to lie `gap` apart, from the top down."""
    order = np.argsort(places, kind="stable").tolist()
    moved = [0.0] * len(places)
    last = low - gap
    for number in order:
        moved[number] = last = max(places[number], last + gap)
    over = max(0.0, last - high) if order else 0.0
    return [place - over for place in moved]


def _svg(width: float, height: float, parts: Sequence[str], title: str, description: str) -> Markup:
    return Markup(  # every text within was escaped above
        f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="--w:{width:.0f}" '
        f'aria-label="{escape(title)}. {escape(description)}">{"".join(parts)}</svg>'
    )
