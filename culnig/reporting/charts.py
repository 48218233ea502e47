"""Charts of a report as inline SVG: everything drawn on the page comes from here.

Colours are classes of the style sheet, so a chart follows the page from light to dark. The variable `--t`,
from 0 to 1, says where a cell is on its colour scale. Every chart has a title and a description for screen
readers, and every mark a tooltip with its numbers. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from culnig.core.quantities import number as shown_number
from culnig.core.quantities import percent as shown_percent
from culnig.reporting.drawing import (
    END,
    LETTER,
    MIDDLE,
    drawing,
    letters,
    line_at,
    margin,
    nice_ticks,
    rectangle,
    spread,
    text_at,
    tick_text,
    tooltip_of,
)
from culnig.reporting.legible import text_classes

_SCALE_WIDTH = 260
"""Width that the colour scale of a heat map needs."""
MOST_CELLS = 1500
"""Largest heat map whose cells are drawn one by one."""


@dataclass(frozen=True)
class Mark:
    """A value with an interval."""

    kind: str
    """Class of the style sheet: `effect`, `against`, `random` or `chance`."""
    value: float
    interval: tuple[float, float] | None
    tooltip: str


@dataclass(frozen=True)
class MarkRow:
    """One row of a chart of intervals."""

    label: str
    marks: Sequence[Mark]
    group: str = ""
    """Heading above the first row of each group."""


@dataclass(frozen=True)
class Line:
    """One line of a line chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[tuple[float, float] | None] = ()
    """The ends of an interval of each point; empty if there are none."""


def heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    description: str,
    form: Callable[[float], str] = shown_number,
    diverging: bool = False,
    numbers: bool = False,
    cell: tuple[int, int] = (22, 22),
    column_step: int = 1,
    row_step: int = 1,
    limit: float | None = None,
    axis: str = "",
    names: Sequence[str] = (),
) -> Markup:
    """Cells on one colour scale: from 0 up, or with `diverging` from −limit over 0 to +limit.

    `numbers` writes the values into the cells, except zeros on a scale that starts at zero. Every
    `column_step`-th column and `row_step`-th row has a label; `names` are longer column names for tooltips.
    `limit` is the end of the scale, by default the largest absolute value. NaN cells stay empty. More than
    MOST_CELLS cells have neither tooltips nor numbers, and a few steps of colour.
    """
    width, height = cell
    finite = np.abs(values[np.isfinite(values)])
    most = (limit if limit is not None else float(finite.max(initial=0.0))) or 1.0
    longest = max(map(letters, columns), default=0)
    left, top = margin(14, rows), 12 + (8 + LETTER * 0.85 * longest if longest > 3 else 14)
    parts = []
    for row in range(0, len(rows), row_step):
        parts.append(text_at("label", left - 8, top + row * height + height / 2 + 4, rows[row], END))
    for column in range(0, len(columns), column_step):
        x = left + column * width + width / 2
        rotated = f' transform="rotate(-55 {x:.1f} {top - 6:.1f})"' if longest > 3 else MIDDLE
        parts.append(text_at("label", x, top - 6, columns[column], rotated))
    many = values.size > MOST_CELLS
    if many:
        parts += _steps(values, most, diverging, left, top, cell)
    for row, label in enumerate(() if many else rows):
        for column, name in enumerate(names or columns):
            value, x, y = float(values[row, column]), left + column * width, top + row * height
            text = _signed(form, value) if math.isfinite(value) else "no data"
            color = _color(value, most, diverging)
            parts.append(rectangle(color, x, y, width - 1, height - 1, f"{label}, {name}: {text}"))
            if numbers and math.isfinite(value) and (value or diverging):
                parts.append(
                    text_at(
                        "value" + text_classes(*_scale(value, most, diverging)),
                        x + width / 2 - 0.5,
                        y + height / 2 + 4,
                        text,
                    )
                )
    bottom, right = top + len(rows) * height + 12, left + len(columns) * width
    if axis:
        parts.append(text_at("label", left, bottom + 4, axis))
    parts.append(_color_scale(right, bottom + 18, most, form, diverging))
    overhang = LETTER * 0.6 * longest if longest > 3 else 0
    return drawing(max(right + overhang, _SCALE_WIDTH + 20) + 8, bottom + 44, parts, title, description)


def layer_map(
    table: NDArray[np.float64],
    rows: Sequence[str],
    *,
    title: str,
    description: str,
    form: Callable[[float], str],
    numbers: bool,
) -> Markup:
    """A heat map with a column for each layer; `table` is (row, layer)."""
    layers = range(table.shape[1])
    return heat_map(
        table,
        rows,
        [str(layer) for layer in layers],
        title=title,
        description=description,
        form=form,
        numbers=numbers,
        cell=(26, 25),
        column_step=max(1, len(layers) // 30),
        names=[f"layer {layer}" for layer in layers],
        axis="layer →",
    )


def _steps(
    values: NDArray[np.float64], most: float, diverging: bool, left: float, top: float, cell: tuple[int, int]
) -> list[str]:
    """The cells as one path for each of ten steps of colour: every one for itself would take megabytes."""
    (width, height), paths = cell, dict[str, list[str]]()
    for row, column in np.argwhere(np.isfinite(values)).tolist():
        step = math.copysign(math.ceil(abs(values[row, column]) / most * 10) / 10, values[row, column])
        corner = f"M{left + column * width:.0f} {top + row * height:.0f}"
        square = f"{corner}h{width - 1}v{height - 1}h{1 - width}z"
        paths.setdefault(_color(step, 1.0, diverging), []).append(square)
    return [f'<path {color} d="{"".join(squares)}"/>' for color, squares in paths.items()]


def _signed(form: Callable[[float], str], value: float) -> str:
    """A number with a real minus sign, except in an exponent."""
    text = form(value)
    return "−" + text[1:] if text.startswith("-") else text


def _color(value: float, most: float, diverging: bool) -> str:
    """Class and style of a cell with this value."""
    kind, share = _scale(value, most, diverging)
    return f'class="{kind}" style="--t:{share:.3g}"'


def _scale(value: float, most: float, diverging: bool) -> tuple[str, float]:
    """Class of a cell with this value, and how far along the scale of that class it is."""
    if not math.isfinite(value):
        return "none", 0.0
    share = min(1.0, abs(value) / most)
    if diverging:
        return ("negative" if value < 0 else "positive"), share
    # the sequential scale has two halves, each with its own end colours
    return ("q1" if share >= 0.5 else "q0"), (share * 2 % 1 if share < 1 else 1.0)


def _color_scale(right: float, y: float, most: float, form: Callable[[float], str], diverging: bool) -> str:
    """The colours of a heat map with the values at their ends, aligned with its right edge."""
    steps, width = 24, 5
    start = max(60.0, right - 56 - steps * width)
    low = -1.0 if diverging else 0.0
    parts = [
        rectangle(_color(value, 1.0, diverging), start + step * width, y, width, 10)
        for step, value in enumerate(np.linspace(low, 1.0, steps).tolist())
    ]
    parts.append(text_at("tick", start - 6, y + 9, _signed(form, low * most), END))
    parts.append(text_at("tick", start + steps * width + 6, y + 9, form(most)))
    return "".join(parts)


LEAST_RANGE = 0.04
"""Least range of an axis of changes of shares, so that a negligible change does not look large."""


def intervals(rows: Sequence[MarkRow], *, title: str, description: str, axis: str, percent: bool) -> Markup:
    """Marks with intervals on an axis that includes zero, one row each.

    Marks of chance do not widen the axis: those beyond its ends are left out.
    """
    left, plot, height = margin(24, [row.label for row in rows]), 560.0, 24
    marks = [mark for row in rows for mark in row.marks if mark.kind != "chance"]
    ends = [0.0, *(end for mark in marks for end in (mark.value, *(mark.interval or ())))]
    if percent:  # no share changes by more than 1, even where an interval of few values says so
        ends = [max(-1.0, min(1.0, end)) for end in ends]
    ticks = nice_ticks(min(ends), max(ends), least=LEAST_RANGE if percent else 0.0)

    def across(value: float) -> float:
        return left + plot * (min(max(value, ticks[0]), ticks[-1]) - ticks[0]) / (ticks[-1] - ticks[0])

    y, group, body = 10.0, "", []
    for row in rows:
        if row.group != group:
            group = row.group
            y += 20
            body.append(text_at("heading", 4, y - 4, group))
        middle = y + height / 2
        body.append(text_at("label", left - 10, middle + 4, row.label, END))
        body.append(line_at("rule", left, left + plot, middle, middle))
        shown = (mark for mark in row.marks if mark.kind != "chance" or ticks[0] <= mark.value <= ticks[-1])
        body += [_mark(mark, across, middle) for mark in shown]
        y += height
    parts = []
    for tick in ticks:
        x = across(tick)
        parts.append(line_at("zero" if abs(tick) < 1e-12 else "grid", x, x, 8, y + 2))
        parts.append(text_at("tick", x, y + 18, tick_text(tick, ticks, percent), MIDDLE))
    parts += [*body, text_at("label", left + plot / 2, y + 38, axis, MIDDLE)]
    return drawing(left + plot + 30, y + 48, parts, title, description)


_OFFSET = {"effect": -3.5, "against": 4.5, "random": -3.5, "chance": 0.0}
"""Vertical offset of a mark from the middle of its row."""


def _mark(mark: Mark, across: Callable[[float], float], middle: float) -> str:
    x, y = across(mark.value), middle + _OFFSET[mark.kind]
    if mark.kind in ("random", "chance"):
        half = 4 if mark.kind == "random" else 11
        return line_at(mark.kind, x, x, y - half, y + half, mark.tooltip)
    line = ""
    if mark.interval is not None:
        line = line_at(mark.kind, across(mark.interval[0]), across(mark.interval[1]), y, y)
    circle = f'<circle class="{mark.kind}" cx="{x:.1f}" cy="{y}" r="4"/>'
    return f"<g>{tooltip_of(mark.tooltip)}{line}{circle}</g>"


def lines(
    drawn: Sequence[Line],
    *,
    title: str,
    description: str,
    x_axis: str,
    y_axis: str,
    percent: bool = False,
    form: Callable[[float], str] = shown_number,
) -> Markup:
    """Lines over a common x, with the intervals of their points, labelled on the right; colour and dash tell
    up to seven apart. `percent` is for shares of 1 and their changes; `form` is that of the tooltips.
    """
    left, top, width, height = 64.0, 16.0, 640.0, 260.0
    xs = [x for line in drawn for x in line.x]
    ys = [y for line in drawn for y in line.y] + [0.0]
    ys += [end for line in drawn for ends in line.intervals for end in ends or ()]
    x_ticks = nice_ticks(min(xs), max(xs), 8)
    if all(float(x).is_integer() for x in xs):  # there is no layer 0.5
        x_ticks = [tick for tick in x_ticks if abs(tick - round(tick)) < 1e-9]
    y_ticks = nice_ticks(min(ys), max(ys), 5, LEAST_RANGE if percent else 0.0)
    if min(ys) >= 0:  # a wider axis only shows more above
        y_ticks = [tick for tick in y_ticks if tick > -1e-12]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)

    def across(x: float) -> float:
        return left + width * (x - x_low) / (x_high - x_low)

    def up(y: float) -> float:
        return top + height * (1 - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]))

    parts = []
    for tick in y_ticks:
        y = up(tick)
        parts.append(line_at("zero" if abs(tick) < 1e-12 else "grid", left, left + width, y, y))
        parts.append(text_at("tick", left - 8, y + 4, tick_text(tick, y_ticks, percent), END))
    for tick in x_ticks:
        if x_low - 1e-12 <= tick <= x_high + 1e-12:
            text = tick_text(tick, x_ticks, False)
            parts.append(text_at("tick", across(tick), top + height + 18, text, MIDDLE))
    for number, line in enumerate(drawn):
        color = f"c{number % 7}"
        points = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line {color}" points="{joined}"/>')
        for (cx, _), ends in zip(points, line.intervals, strict=bool(line.intervals)):
            if ends is not None:
                beside = cx + 2.0 * (number - len(drawn) / 2)  # not on that of another line
                parts.append(line_at(f"line {color} solid", beside, beside, up(ends[0]), up(ends[1])))
        for (cx, cy), x, y in zip(points, line.x, line.y, strict=True):
            tooltip = tooltip_of(f"{line.label}, {x_axis} {x:g}: {form(y)}")
            parts.append(f'<circle class="dot {color}" cx="{cx:.1f}" cy="{cy:.1f}" r="3">{tooltip}</circle>')
    label_ys = spread([up(line.y[-1]) for line in drawn], 15, top + 6, top + height)
    for number, (line, y) in enumerate(zip(drawn, label_ys, strict=True)):
        x = left + width + 12
        parts.append(line_at(f"line c{number % 7}", x, x + 18, y, y))
        parts.append(text_at("label", x + 24, y + 4, line.label))
    middle = top + height / 2
    parts.append(text_at("label", left + width / 2, top + height + 38, x_axis, MIDDLE))
    parts.append(text_at("label", 14, middle, y_axis, f'{MIDDLE} transform="rotate(-90 14 {middle})"'))
    right = margin(left + width + 46, [line.label for line in drawn])
    return drawing(right, top + height + 48, parts, title, description)


def bars(
    labels: Sequence[str],
    shares: Sequence[float],
    tooltips: Sequence[str],
    *,
    title: str,
    description: str,
    ranges: Sequence[tuple[float, float] | None] = (),
    reference: float | None = None,
) -> Markup:
    """Shares of 1, one bar each, with the ends of an interval; `reference` is a line through all."""
    left, plot, height = margin(16, labels), 420.0, 22
    parts = []
    for row, (label, share, tooltip) in enumerate(zip(labels, shares, tooltips, strict=True)):
        y = 4 + row * height
        parts.append(text_at("label", left - 8, y + 15, label, END))
        parts.append(rectangle('class="track" rx="2"', left, y + 3, plot, height - 7))
        parts.append(rectangle('class="bar" rx="2"', left, y + 3, plot * share, height - 7, tooltip))
        parts.append(text_at("tick", left + plot + 8, y + 15, shown_percent(share)))
    for row, ends in enumerate(ranges):
        if ends is not None:
            middle = 4 + row * height + height / 2
            parts.append(line_at("whisker", left + plot * ends[0], left + plot * ends[1], middle, middle))
    if reference is not None:
        x = left + plot * reference
        parts.append(line_at("chance", x, x, 2, 6 + len(labels) * height, shown_percent(reference)))
    return drawing(left + plot + 70, 10 + len(labels) * height, parts, title, description)
