"""Figures for papers and notebooks, drawn with matplotlib, which is imported only when a figure is drawn.

Heat maps are meshes, so PDF and SVG files stay vector graphics. PDF files embed text as TrueType fonts
(type 42), SVG files hold it as outlines. Equal tables give equal bytes. How figures look is in `plot_style`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.plot_style import (
    AGAINST,
    DIVERGING,
    EFFECT,
    INK,
    LINES,
    RANDOM,
    SEQUENTIAL,
    at_least_points,
    cell_numbers,
    figure_of,
    in_lines,
    interval,
    layers_between_labels,
    legend_below,
    mesh,
    name_rows,
    new_figure,
    once,
    small,
    styled,
)
from culnig.core.plot_style import FORMATS as FORMATS
from culnig.core.plot_style import save as save
from culnig.core.quantities import IN_PERCENT, metric_value, points
from culnig.core.text import counted, metric_text, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def layers_figure(panels: Sequence[tuple[str, Sequence[str], NDArray[np.float64]]]) -> Figure:
    """Neurons (or scores) by layer: stacked panels of (title, row names, table (row, layer))."""
    heights = [max(2, len(rows)) for _, rows, _ in panels]
    figure = new_figure(7.0, 0.9 + 0.24 * sum(heights) + 0.5 * len(panels))
    grid = np.atleast_1d(figure.subplots(len(panels), 1, height_ratios=heights))
    for axes, (title, rows, table) in zip(grid, panels, strict=True):
        n_layers = table.shape[1]
        mesh(axes, table, SEQUENTIAL, 0.0, max(float(table.max(initial=0.0)), np.finfo(float).tiny))
        name_rows(axes, (np.arange(len(rows)) + 0.5).tolist(), rows)
        step = layers_between_labels(figure, n_layers)
        axes.set_xticks(np.arange(0, n_layers, step) + 0.5, [str(n) for n in range(0, n_layers, step)])
        axes.set_title(in_lines(figure, title, small(9), 0.75))
    grid[-1].set_xlabel("layer")
    return figure


@styled
def matrix_figure(
    title: str, rows: Sequence[str], columns: Sequence[str], change: NDArray[np.float64]
) -> Figure:
    """Change in percentage points of each column's culture when the neurons of each row's are masked."""
    figure = new_figure(1.8 + 0.42 * len(columns), 1.4 + 0.3 * len(rows))
    _matrix(figure.subplots(), title, rows, columns, change)
    return figure


@styled
def finding_figure(
    title: str,
    masks: Sequence[tuple[str, float, float, Sequence[float]]],
    matrices: Sequence[tuple[str, Sequence[str], Sequence[str], NDArray[np.float64]]],
) -> Figure:
    """Accuracy under masks, as (name, unmasked, masked, under each random mask), beside `matrix_figure`s."""
    figure = new_figure(4.4 + 4.0 * len(matrices), 1.6 + 0.3 * len(masks))
    bare, *panels = np.atleast_1d(figure.subplots(1, 1 + len(matrices)))
    figure.suptitle(visible(title), x=0.01, ha="left", fontsize=small(10))
    for y, (_, unmasked, masked, random) in enumerate(masks):
        for values, mark, color, size, name in (
            *((random, "|", RANDOM, 15, "random sets masked"), ([unmasked], "o", INK, 5, "unmasked")),
            ([masked], "D", AGAINST, 5, "masked"),
        ):
            at, label = [y] * len(values), once(bare, name)
            bare.plot(100 * np.array(values), at, mark, color=color, markersize=size, label=label)
    bare.set_yticks(range(len(masks)), [visible(name) for name, *_ in masks])
    bare.set(xlim=(-3, 103), ylim=(len(masks) - 0.5, -0.5), xlabel="accuracy (%)")
    bare.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    bare.spines[["top", "right"]].set_visible(False)
    bare.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.3, 1), ncols=3, columnspacing=1.0)
    for axes, matrix in zip(panels, matrices, strict=True):
        _matrix(axes, *matrix)
    return figure


@styled
def masking_figure(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Change of a metric under each mask, with interval and random masks; `rows` of `results.json`.

    Shares change in points. Above the masks of each benchmark is said how many questions it has, and the
    level that changes start from.
    """
    masked = [row for row in rows if row["change"] and row.get("like") is None and metric in row["change"]]
    unit = 100.0 if metric in IN_PERCENT else 1.0
    from matplotlib.transforms import blended_transform_factory

    ys, headings = _with_headings([row["benchmark"] for row in masked])
    figure = new_figure(7.0, 1.2 + 0.28 * (1 + max(ys, default=0)))
    axes = figure.subplots()
    for y, row in zip(ys, masked, strict=True):
        random = [
            unit * other["change"][metric]["effect"]
            for other in rows
            if other.get("like") == row["condition"] and other["benchmark"] == row["benchmark"]
        ]
        interval(axes, y - 0.12, _scaled(row["change"][metric], unit), EFFECT, "o", "against unmasked")
        against = (row.get("against_random") or {}).get(metric)
        if against is not None:
            interval(axes, y + 0.16, _scaled(against, unit), AGAINST, "s", "against random")
        if random:
            label = once(axes, "random against unmasked")
            axes.plot(random, [y - 0.12] * len(random), "|", color=RANDOM, markersize=6, label=label)
    suffix = ", points" if unit == 100 else ""
    if unit == 100:
        at_least_points(axes)
        axes.set_xlim(max(-105.0, axes.get_xlim()[0]), min(105.0, axes.get_xlim()[1]))
    names, label = [row["condition"] for row in masked], f"change of {metric_text(metric)}{suffix}"
    with_random = any((row.get("against_random") or {}).get(metric) for row in masked)
    _finish_effects(axes, ys, names, label, "; against random, over random sets" if with_random else "")
    for y, row in zip(ys, masked, strict=True):
        start = _start(row, rows, metric)
        if metric in _WITH_CHANCE and start is not None and row.get("chance") is not None:
            x, (low, high) = unit * (row["chance"] - start), axes.get_xlim()
            if low <= x <= high:  # chance does not widen the axis
                axes.plot([x, x], [y - 0.4, y + 0.4], ":", color=INK, label=once(axes, "chance"))
                axes.set_xlim(low, high)
    axes.spines["left"].set_visible(False)
    for benchmark, y in headings.items():
        first = next(row for row in masked if row["benchmark"] == benchmark)
        above = f"{visible(benchmark)}: {_level(first, rows, metric)}".removesuffix(": ")
        across = blended_transform_factory(figure.transFigure, axes.transData)
        text = axes.text(0.02, y, in_lines(figure, above, small(6.5)), transform=across)
        text.set(fontsize=small(6.5), va="center", in_layout=False)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    legend_below(figure, 4)
    return figure


def _with_headings(names: Sequence[str]) -> tuple[list[float], dict[str, float]]:
    """Positions of rows that come by name, and of a heading above the rows of each name."""
    ys: list[float] = []
    headings: dict[str, float] = {}
    y = 0.0
    for name in names:
        if name not in headings:
            headings[name] = y
            y += 1
        ys.append(y)
        y += 1
    return ys, headings


_WITH_CHANCE = ("accuracy", "option_accuracy")
"""Metrics with a chance level."""


def _scaled(change: Mapping[str, Any], unit: float) -> dict[str, Any]:
    """Effect and interval in another unit."""
    ends = [None if end is None else unit * end for end in change["interval"]]
    return {"effect": unit * change["effect"], "interval": ends}


def _start(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """The metric of the unmasked model on the benchmark of a row."""
    own = [other for other in rows if other["benchmark"] == row["benchmark"] and not other["change"]]
    return own[0].get(metric) if own else None


def _level(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Questions, the level that changes start from, and chance, as far as they are known."""
    parts = [counted(row["n_questions"], "question")] if row.get("n_questions") else []
    start = _start(row, rows, metric)
    if start is not None:
        parts.append(f"unmasked {metric_value(metric, start)}")
    if metric in _WITH_CHANCE and row.get("chance") is not None:
        parts.append(f"chance {metric_value(metric, row['chance'])}")
    return ", ".join(parts)


@styled
def training_figure(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Change of a metric by training each arm, in percentage points; `rows` of `arms.json`."""
    figure = new_figure(7.0, 1.3 + 0.28 * len(rows))
    axes = figure.subplots()
    looks = {"task": (EFFECT, "o"), "culture": (AGAINST, "s")}
    for y, row in enumerate(rows):
        change = row["change"]
        interval(axes, y, _scaled(change, 100.0), *looks.get(row["kind"], (INK, "D")), row["kind"])
        label = once(axes, "single seeds")
        seeds = [100 * value for value in row["by_seed"]]
        axes.plot(seeds, [y + 0.22] * len(seeds), "|", color=RANDOM, markersize=6, label=label)
    labels = [f"{row['arm']}: {row['benchmark']}" for row in rows]
    _finish_effects(axes, list(range(len(rows))), labels, f"change of {metric_text(metric)}, points")
    legend_below(figure, 4)
    return figure


@styled
def shares_figure(panels: Sequence[tuple[str, Sequence[str], Sequence[float]]]) -> Figure:
    """Shares of 1 as bars: stacked panels of (title, names, shares)."""
    heights = [max(2, len(names)) for _, names, _ in panels]
    figure = new_figure(5.5, 0.7 + 0.24 * sum(heights) + 0.35 * len(panels))
    grid = np.atleast_1d(figure.subplots(len(panels), 1, height_ratios=heights, sharex=True))
    for axes, (title, names, shares) in zip(grid, panels, strict=True):
        drawn = axes.barh(range(len(names)), [100 * share for share in shares], color=EFFECT, height=0.7)
        axes.bar_label(drawn, [f"{100 * share:.0f}" for share in shares], padding=2, fontsize=small(7))
        name_rows(axes, range(len(names)), names)
        axes.invert_yaxis()
        axes.set_title(visible(title))
        axes.spines[["top", "right"]].set_visible(False)
    grid[-1].set_xlim(0, 105)
    grid[-1].set_xlabel("problems with a positive score (%)")
    return figure


def _matrix(
    axes: Axes, title: str, rows: Sequence[str], columns: Sequence[str], change: NDArray[np.float64]
) -> None:
    """Draw a matrix of changes with its numbers."""
    most = float(np.nanmax(np.abs(change), initial=0.0)) or 1.0
    mesh(axes, 100 * change, DIVERGING, -100 * most, 100 * most)
    texts = [
        [points(value).replace("-", "−") if np.isfinite(value) else "" for value in row] for row in change
    ]
    cell_numbers(axes, texts, np.abs(np.nan_to_num(change)) > 0.6 * most)
    axes.set_xticks(np.arange(len(columns)) + 0.5, list(columns), rotation=60, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [visible(name) for name in rows])
    axes.set_xlabel("evaluated culture")
    axes.set_ylabel("masked culture")
    axes.set_title(visible(title))


def _finish_effects(
    axes: Axes, ys: Sequence[float], labels: Sequence[str], x_label: str, more: str = ""
) -> None:
    """Label the axes of a figure with one effect and its interval per row."""
    axes.axvline(0, color=INK, linewidth=0.8)
    name_rows(axes, ys, labels)
    axes.set_ylim(max(ys, default=0) + 0.5, -0.5)
    note = in_lines(figure_of(axes), f"(95 % interval over questions{more})", small(8), 0.65)
    axes.set_xlabel(f"{x_label}\n{note}")
    axes.spines[["top", "right"]].set_visible(False)


@styled
def lines_figure(panels: Sequence[tuple[str, str, str, Sequence[Any]]]) -> Figure:
    """Lines with the intervals of their points: stacked panels of (title, x axis, y axis, lines).

    A line has `label`, `x`, `y` and `intervals`, as those of the report have; y are shares of 1.
    """
    figure = new_figure(5.5, 2.6 * len(panels))
    grid = np.atleast_1d(figure.subplots(len(panels), 1))
    for axes, (title, x_label, y_label, drawn) in zip(grid, panels, strict=True):
        for index, line in enumerate(drawn):
            color, dash, mark = LINES[index % len(LINES)]
            ys = 100 * np.asarray(line.y, dtype=float)
            axes.plot(
                line.x, ys, color=color, linestyle=dash, marker=mark, markersize=3, label=visible(line.label)
            )
            for x, ends in zip(line.x, line.intervals, strict=bool(line.intervals)):
                if ends is not None:
                    axes.plot([x, x], [100 * ends[0], 100 * ends[1]], color=color, linewidth=0.9)
        axes.axhline(0, color=INK, linewidth=0.8)
        if all(float(x).is_integer() for line in drawn for x in line.x):  # there is no layer 0.5
            axes.xaxis.get_major_locator().set_params(integer=True)
        at_least_points(axes, of_y=True)
        axes.set_title(visible(title))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=small(7), ncols=2, loc="upper left", bbox_to_anchor=(0, -0.25))
    return figure


@styled
def scores_figure(
    title: str, rows: Sequence[str], columns: Sequence[str], scores: NDArray[np.float64]
) -> Figure:
    """Scores of cultures (rows) and neurons (columns), in colours that end at the 98 % quantile.

    Negative scores have a dash as well, so that they are told from positive ones in grey.
    """
    figure = new_figure(1.6 + 0.17 * len(columns), 1.6 + 0.2 * len(rows))
    axes = figure.subplots()
    finite = np.abs(scores[np.isfinite(scores)])
    most = float(np.quantile(finite, 0.98)) if finite.size else 0.0
    mesh(axes, scores, DIVERGING, -(most or 1.0), most or 1.0)
    ys, xs = np.nonzero(scores < -0.1 * most)
    axes.plot(xs + 0.5, ys + 0.5, "_", color=INK, markersize=small(3), markeredgewidth=0.7)
    axes.set_xticks(np.arange(len(columns)) + 0.5, list(map(visible, columns)), rotation=90)
    axes.tick_params("x", labelsize=small(6))
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(map(visible, rows)))
    axes.set_title(visible(title))
    return figure


@styled
def similarity_matrix_figure(title: str, names: Sequence[str], matrix: NDArray[np.float64]) -> Figure:
    """Similarities from 0 to 1 (correlations: from −1), with their numbers."""
    figure = new_figure(1.8 + 0.42 * len(names), 1.4 + 0.3 * len(names))
    axes = figure.subplots()
    is_signed = bool(np.nanmin(matrix, initial=0.0) < 0)
    mesh(axes, matrix, DIVERGING if is_signed else SEQUENTIAL, -1.0 if is_signed else 0.0, 1.0)
    texts = [
        [f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "" for value in row] for row in matrix
    ]
    cell_numbers(axes, texts, np.abs(np.nan_to_num(matrix)) > 0.6)
    axes.set_xticks(np.arange(len(names)) + 0.5, list(map(visible, names)), rotation=60, ha="right")
    axes.set_yticks(np.arange(len(names)) + 0.5, list(map(visible, names)))
    axes.set_title(visible(title))
    return figure


@styled
def leaderboard_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Average precision of methods in one world, mean over seeds with lowest and highest, and chance."""
    figure = new_figure(5.5, 1.3 + 0.28 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        for which, shift, color, mark in (("specific", -0.1, EFFECT, "o"), ("general", 0.15, AGAINST, "s")):
            shown = {"effect": row[which]["mean"], "interval": [row[which]["low"], row[which]["high"]]}
            interval(axes, y + shift, shown, color, mark, f"{which} neurons")
        label = once(axes, "specific, random order")
        axes.plot([row["specific"]["chance"]], [y - 0.1], "|", color=RANDOM, markersize=7, label=label)
    name_rows(axes, range(len(rows)), [row["method"] for row in rows], small(6.5), 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    label = "average precision (lowest to highest over seeds)"
    axes.set_xlabel(in_lines(figure, label, small(8), 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(figure, 3)
    return figure
