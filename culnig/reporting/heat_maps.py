"""Heat maps of a report as inline SVG: cells on one colour scale, by layer, neuron, culture or expert.

The variable `--t`, from 0 to 1, says where a cell is on the colour scale of its class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from culnig.core.quantities import number as shown_number
from culnig.reporting.drawing import END, LETTER, MIDDLE, drawing, letters, margin, rectangle, text_at
from culnig.reporting.legible import text_classes

_SCALE_WIDTH = 260
"""Width that the colour scale of a heat map needs."""
MOST_CELLS = 1500
"""Largest heat map whose cells are drawn one by one."""


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
