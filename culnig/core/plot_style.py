"""How figures for papers look: size, fonts, colours, and the parts that several of them have.

Colours are told apart by people who see few colours, and lightness or marks tell them apart in grey. The
user's own matplotlib settings are left alone.
"""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from culnig.core.text import visible
from culnig.errors import InputError, argument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEQUENTIAL = ("#eef2f6", "#4f9bc6", "#08305c")
DIVERGING = ("#c25a0a", "#f3f4f5", "#1f5fa8")
EFFECT, AGAINST, RANDOM, INK = "#0072b2", "#d55e00", "#8a8f98", "#17202a"
LINES = (
    *(("#0072b2", "-", "o"), ("#d55e00", "--", "s"), ("#007a5c", ":", "^"), ("#a8518a", "-.", "D")),
    *(("#8a6d00", (0, (6, 2)), "v"), ("#2a8fc4", (0, (3, 1)), "P"), ("#5a5f66", (0, (1, 1)), "X")),
)
"""Colour, dash and mark of each line; seven are told apart."""

FONT_SIZE = 8.0
MILLIMETRES = 25.4
"""Of an inch."""
COLUMNS = {1: 84.0, 2: 174.0}
"""Widths of one and of two columns of a page, in millimetres."""

_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "culnig",
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
}
_METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
FORMATS = tuple(_METADATA)


@dataclass(frozen=True)
class Size:
    """Size of figures and of their text."""

    width: float | None = None
    """Millimetres; None for the width that fits the contents."""
    font_size: float = FONT_SIZE
    """Points."""

    def relative(self, points: float) -> float:
        """A size that is `points` where text has the usual size."""
        return points * self.font_size / FONT_SIZE


_USUAL = Size()
_size: ContextVar[Size] = ContextVar("size", default=_USUAL)


@contextlib.contextmanager
def sized(size: Size) -> Iterator[None]:
    """Draw figures of this size inside."""
    token = _size.set(size)
    try:
        yield
    finally:
        _size.reset(token)


Draw = TypeVar("Draw", bound="Callable[..., Figure]")


def styled(draw: Draw) -> Draw:
    """Apply our style to this drawing only."""

    @wraps(draw)
    def drawn(*arguments: Any, **options: Any) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_sized_style()):
            return draw(*arguments, **options)

    return cast(Draw, drawn)


def _sized_style() -> dict[Any, Any]:
    size = _size.get()
    return {**_STYLE, "font.size": size.font_size, "axes.titlesize": size.relative(9)}


def small(points: float) -> float:
    """A font size below that of the text, for a size of 8 points."""
    return _size.get().relative(points)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches are those of contents in the usual size.

    A chosen width stays; the height follows the size of the text, so that rows have room for it.
    """
    size = _size.get()
    scale = size.relative(1.0)
    chosen = width * scale if size.width is None else size.width / MILLIMETRES
    return _shown_figure()(figsize=(chosen, height * scale), layout="constrained")


@cache
def _shown_figure() -> type[Figure]:
    """Figures that notebooks show without pyplot."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that shows itself below its cell."""

        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=110, metadata=_METADATA["png"])
            return drawn.getvalue()

    return ShownFigure


def titled(figure: Figure, title: str) -> Figure:
    """The figure with a title above all, in lines that fit its width."""
    import matplotlib as mpl

    size = _size.get()
    with mpl.rc_context(_sized_style()):
        text = figure.suptitle(in_lines(figure, title, size.relative(9)), x=0.01, ha="left")
        text.set_fontsize(size.relative(9))
    lines = text.get_text().count("\n") + 1
    figure.set_figheight(figure.get_figheight() + lines * size.relative(9) * 1.4 / 72)
    return figure


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are in."""
    return cast("Figure", axes.figure)


def in_lines(figure: Figure, text: str, points: float, share: float = 1.0) -> str:
    """A text of this size in lines that fit a share of the figure's width."""
    letters = int(share * figure.get_figwidth() * 72 / (0.58 * points))
    return "\n".join(textwrap.wrap(visible(text), max(10, letters)))


def name_rows(
    axes: Axes, ys: Sequence[float], names: Sequence[str], font: float | None = None, share: float = 0.42
) -> None:
    """The names of rows beside an axis; they take at most a share of the width."""
    font, figure = font or small(FONT_SIZE), figure_of(axes)
    axes.set_yticks(list(ys), [in_lines(figure, name, font, share) for name in names], fontsize=font)


_LEAST_POINTS = 4.0


def at_least_points(axes: Axes, *, of_y: bool = False) -> None:
    """Widen an axis of points, so that a negligible change does not look large; shares of y begin at 0."""
    low, high = axes.get_ylim() if of_y else axes.get_xlim()
    if of_y and min((float(np.min(line.get_ydata())) for line in axes.lines), default=0.0) >= 0:
        axes.set_ylim(0, max(_LEAST_POINTS, high))
    elif high - low < _LEAST_POINTS:
        middle = (low + high) / 2
        ends = (middle - _LEAST_POINTS / 2, middle + _LEAST_POINTS / 2)
        (axes.set_ylim if of_y else axes.set_xlim)(*ends)


def layers_between_labels(figure: Figure, n_layers: int) -> int:
    """From one numbered layer to the next, so that the numbers do not touch."""
    room = figure.get_figwidth() * 72 - small(110)
    return max(1, -(-n_layers // 16), int(np.ceil(n_layers * small(14) / max(room, 1.0))))


def format_of(path: Path) -> str:
    """The format that the name of a file says; InputError for one that is not in FORMATS."""
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise InputError(
            f"{path} is no name of a figure; end it with {' or '.join(f'.{f}' for f in FORMATS)}"
        )
    return form


_LENGTH = re.compile(r"(\d+\.?\d*|\.\d+) *(mm|cm|in|pt)?")
_UNITS = {"mm": 1.0, "cm": 10.0, "in": MILLIMETRES, "pt": MILLIMETRES / 72, None: 1.0}


def millimetres(length: str | float) -> float:
    """A length such as `84mm`, `3.3in` or a number of millimetres; InputError for anything else."""
    match = _LENGTH.fullmatch(str(length).strip())
    size = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 20 <= size <= 2000:
        raise InputError(
            f"{argument('width')} {length!r} is no width of a figure; give 20mm to 2000mm, such as 84mm or "
            "3.3in"
        )
    return size


def save(figure: Figure, path: Path, form: str) -> None:
    """Write a figure in one of FORMATS."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure.savefig(path, format=form, dpi=200, metadata=_METADATA[form])


def mesh(axes: Axes, values: NDArray[np.float64], colors: Sequence[str], low: float, high: float) -> None:
    """A heat map with its scale beside it."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("culnig", list(colors))
    drawn = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=scale, vmin=low, vmax=high, edgecolors="white", linewidth=0.5
    )
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    scale_beside = axes.figure.colorbar(drawn, ax=axes, pad=0.01, fraction=0.05)
    if scale_beside.solids is not None:  # otherwise matplotlib rasterizes it
        scale_beside.solids.set(rasterized=False, edgecolor="face")


def cell_numbers(axes: Axes, texts: Sequence[Sequence[str]], is_dark: NDArray[np.bool_]) -> None:
    """A number in each cell of a heat map, light where the cell is dark; none where cells are too narrow."""
    size, n_columns = _size.get(), is_dark.shape[1]
    room = (float(axes.figure.bbox.width / axes.figure.dpi) * 72 - size.relative(90)) / max(1, n_columns)
    longest = max((len(text) for row in texts for text in row), default=0)
    font = min(small(6), room / (0.62 * (longest + 1)))
    if font < small(5):
        return
    for row, column in np.ndindex(*is_dark.shape):
        text = axes.text(column + 0.5, row + 0.5, texts[row][column])
        text.set(ha="center", va="center", fontsize=font, color="white" if is_dark[row, column] else INK)


def interval(axes: Axes, y: float, change: Mapping[str, Any], color: str, mark: str, name: str) -> None:
    """A value with its interval, named once in the legend."""
    low, high = change["interval"]
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=color, linewidth=1.4, solid_capstyle="butt")
    axes.plot([change["effect"]], [y], mark, color=color, markersize=4, label=once(axes, name))


def once(axes: Axes, name: str) -> str:
    """The name for the legend, hidden if the legend already has it."""
    return f"_{name}" if name in axes.get_legend_handles_labels()[1] else name


def legend_below(figure: Figure, n: int) -> None:
    """The legend below the axes, in up to n columns that fit the width."""
    fitting = max(1, int(figure.get_figwidth() / _size.get().relative(1.7)))
    figure.legend(frameon=False, loc="outside lower left", ncols=min(n, fitting))


def columns_that_fit(n: int) -> int:
    """At most n columns of a heat map with a label of its own for each, in the width of figures."""
    size = _size.get()
    if size.width is None:
        return n
    points = size.width / MILLIMETRES * 72 - size.relative(95)
    return max(4, min(n, int(points / (1.1 * size.relative(6)))))
