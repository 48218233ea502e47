"""Figures for papers and notebooks, drawn with matplotlib, which is imported only when a figure is drawn.

Heat maps are meshes, so PDF and SVG files stay vector graphics. PDF files embed text as TrueType fonts
(type 42), SVG files hold it as outlines. Equal tables give equal bytes. The user's own matplotlib settings
are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from culnig.core.text import metric_text, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEQUENTIAL = ("#eef2f6", "#4f9bc6", "#08305c")
DIVERGING = ("#c25a0a", "#f3f4f5", "#1f5fa8")
EFFECT, AGAINST, RANDOM, INK = "#0072b2", "#d55e00", "#8a8f98", "#17202a"

_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "culnig",
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
}
_METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
FORMATS = tuple(_METADATA)


Draw = TypeVar("Draw", bound="Callable[..., Figure]")


def _styled(draw: Draw) -> Draw:
    """Apply our style to this drawing only."""

    @wraps(draw)
    def styled(*arguments: Any) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return draw(*arguments)

    return cast(Draw, styled)


@_styled
def layers_figure(panels: Sequence[tuple[str, Sequence[str], NDArray[np.float64]]]) -> Figure:
    """Neurons (or scores) by layer: stacked panels of (title, row names, table (row, layer))."""
    heights = [max(2, len(rows)) for _, rows, _ in panels]
    figure = _figure(7.0, 0.9 + 0.24 * sum(heights) + 0.5 * len(panels))
    grid = np.atleast_1d(figure.subplots(len(panels), 1, height_ratios=heights))
    for axes, (title, rows, table) in zip(grid, panels, strict=True):
        n_layers = table.shape[1]
        _mesh(axes, table, SEQUENTIAL, 0.0, max(float(table.max(initial=0.0)), np.finfo(float).tiny))
        axes.set_yticks(np.arange(len(rows)) + 0.5, [visible(name) for name in rows])
        step = max(1, n_layers // 16)
        axes.set_xticks(np.arange(0, n_layers, step) + 0.5, [str(n) for n in range(0, n_layers, step)])
        axes.set_title(visible(title))
    grid[-1].set_xlabel("layer")
    return figure


@_styled
def matrix_figure(
    title: str, rows: Sequence[str], columns: Sequence[str], change: NDArray[np.float64]
) -> Figure:
    """Change in percentage points of each column's culture when the neurons of each row's are masked."""
    figure = _figure(1.8 + 0.42 * len(columns), 1.4 + 0.3 * len(rows))
    _matrix(figure.subplots(), title, rows, columns, change)
    return figure


@_styled
def finding_figure(
    title: str,
    masks: Sequence[tuple[str, float, float, Sequence[float]]],
    matrices: Sequence[tuple[str, Sequence[str], Sequence[str], NDArray[np.float64]]],
) -> Figure:
    """Accuracy under masks beside matrices of cultures.

    `masks` are (name, accuracy unmasked, masked, under each random mask), `matrices` the arguments of
    `matrix_figure`.
    """
    figure = _figure(4.4 + 4.0 * len(matrices), 1.6 + 0.3 * len(masks))
    bare, *panels = np.atleast_1d(
        figure.subplots(1, 1 + len(matrices), width_ratios=(1.1, *[1.0] * len(matrices)))
    )
    figure.suptitle(visible(title), x=0.01, ha="left", fontsize=10)
    for y, (_, unmasked, masked, random) in enumerate(masks):
        drawn = (
            (random, "|", RANDOM, 15, "random sets masked"),
            ([unmasked], "o", INK, 5, "unmasked"),
            ([masked], "D", AGAINST, 5, "masked"),
        )
        for values, mark, color, size, name in drawn:
            shown = [100 * value for value in values]
            line = bare.plot(shown, [y] * len(shown), mark, color=color, markersize=size)
            line[0].set_label(_once(bare, name))
    bare.set_yticks(range(len(masks)), [visible(name) for name, *_ in masks])
    bare.set_ylim(len(masks) - 0.5, -0.5)
    bare.set_xlim(-3, 103)
    bare.set_xlabel("accuracy (%)")
    bare.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    bare.spines[["top", "right"]].set_visible(False)
    bare.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.3, 1), ncols=3, columnspacing=1.0)
    for axes, matrix in zip(panels, matrices, strict=True):
        _matrix(axes, *matrix)
    return figure


@_styled
def masking_figure(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Change of a metric under each mask, with interval and random masks; `rows` of `results.json`."""
    masked = [row for row in rows if row["change"] and row.get("like") is None and metric in row["change"]]
    figure = _figure(7.0, 1.3 + 0.28 * len(masked))
    axes = figure.subplots()
    for y, row in enumerate(masked):
        random = [
            other["change"][metric]["effect"]
            for other in rows
            if other.get("like") == row["condition"] and other["benchmark"] == row["benchmark"]
        ]
        _interval(axes, y - 0.12, row["change"][metric], EFFECT, "o", "against unmasked")
        against = (row.get("against_random") or {}).get(metric)
        if against is not None:
            _interval(axes, y + 0.16, against, AGAINST, "s", "against random")
        if random:
            label = _once(axes, "random against unmasked")
            axes.plot(random, [y - 0.12] * len(random), "|", color=RANDOM, markersize=6, label=label)
    labels = [f"{row['benchmark']}: {row['condition']}" for row in masked]
    _finish_effects(axes, labels, f"change of {metric_text(metric)}", legend_columns=3)
    return figure


@_styled
def training_figure(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Change of a metric by training each arm, in percentage points; `rows` of `arms.json`."""
    figure = _figure(7.0, 1.3 + 0.28 * len(rows))
    axes = figure.subplots()
    colors = {"task": EFFECT, "culture": AGAINST}
    for y, row in enumerate(rows):
        change = row["change"]
        shown = {
            "effect": 100 * change["effect"],
            "interval": [None if end is None else 100 * end for end in change["interval"]],
        }
        _interval(axes, y, shown, colors.get(row["kind"], INK), "o", row["kind"])
        label = _once(axes, "single seeds")
        seeds = [100 * value for value in row["by_seed"]]
        axes.plot(seeds, [y + 0.22] * len(seeds), "|", color=RANDOM, markersize=6, label=label)
    labels = [f"{row['arm']}: {row['benchmark']}" for row in rows]
    _finish_effects(axes, labels, f"change of {metric_text(metric)}, points", legend_columns=4)
    return figure


@_styled
def shares_figure(panels: Sequence[tuple[str, Sequence[str], Sequence[float]]]) -> Figure:
    """Shares of 1 as bars: stacked panels of (title, names, shares)."""
    heights = [max(2, len(names)) for _, names, _ in panels]
    figure = _figure(5.5, 0.7 + 0.24 * sum(heights) + 0.35 * len(panels))
    grid = np.atleast_1d(figure.subplots(len(panels), 1, height_ratios=heights, sharex=True))
    for axes, (title, names, shares) in zip(grid, panels, strict=True):
        drawn = axes.barh(range(len(names)), [100 * share for share in shares], color=EFFECT, height=0.7)
        axes.bar_label(drawn, [f"{100 * share:.0f}" for share in shares], padding=2, fontsize=7)
        axes.set_yticks(range(len(names)), [visible(name) for name in names])
        axes.invert_yaxis()
        axes.set_title(visible(title))
        axes.spines[["top", "right"]].set_visible(False)
    grid[-1].set_xlim(0, 105)
    grid[-1].set_xlabel("problems with a positive score (%)")
    return figure


def save(figure: Figure, path: Path, form: str) -> None:
    """Write a figure in one of FORMATS."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure.savefig(path, format=form, dpi=200, metadata=_METADATA[form])


def _figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _matrix(
    axes: Axes, title: str, rows: Sequence[str], columns: Sequence[str], change: NDArray[np.float64]
) -> None:
    """Draw a matrix of changes with its numbers."""
    most = float(np.nanmax(np.abs(change), initial=0.0)) or 1.0
    _mesh(axes, 100 * change, DIVERGING, -100 * most, 100 * most)
    for row, column in np.ndindex(*change.shape):
        value = change[row, column]
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 * most else INK
            text = axes.text(column + 0.5, row + 0.5, f"{100 * value:+.1f}".replace("-", "−"))
            text.set(ha="center", va="center", fontsize=6, color=color)
    axes.set_xticks(np.arange(len(columns)) + 0.5, list(columns), rotation=60, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [visible(name) for name in rows])
    axes.set_xlabel("evaluated culture")
    axes.set_ylabel("masked culture")
    axes.set_title(visible(title))


def _mesh(axes: Axes, values: NDArray[np.float64], colors: Sequence[str], low: float, high: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("culnig", list(colors))
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=scale, vmin=low, vmax=high, edgecolors="white", linewidth=0.5
    )
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    scale_beside = axes.figure.colorbar(mesh, ax=axes, pad=0.01, fraction=0.05)
    if scale_beside.solids is not None:  # otherwise matplotlib rasterizes it
        scale_beside.solids.set(rasterized=False, edgecolor="face")


def _interval(axes: Axes, y: float, change: Mapping[str, Any], color: str, mark: str, name: str) -> None:
    low, high = change["interval"]
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
    axes.plot([change["effect"]], [y], mark, color=color, markersize=4, label=_once(axes, name))


def _finish_effects(axes: Axes, labels: Sequence[str], x_label: str, legend_columns: int) -> None:
    """Label the axes of a figure with one effect and its interval per row."""
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(labels)), [visible(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(f"{x_label} (95 % interval over questions)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=legend_columns)


def _once(axes: Axes, name: str) -> str:
    """The name for the legend, hidden if the legend already has it."""
    return f"_{name}" if name in axes.get_legend_handles_labels()[1] else name
