"""Charts of a report as inline SVG: intervals, lines and bars (`heat_maps` draws the others).

Colours are classes of the style sheet, so a chart follows the page from light to dark. Every chart has a
title and a description for screen readers, and every mark a tooltip with its numbers. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from culnig.core.quantities import number as shown_number
from culnig.core.quantities import percent as shown_percent
from culnig.reporting.drawing import (
    END,
    MIDDLE,
    drawing,
    line_at,
    margin,
    nice_ticks,
    rectangle,
    spread,
    text_at,
    tick_text,
    tooltip_of,
)


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
