"""Fits a table to the width of a terminal, without ever cutting a cell.

If a table is too wide, these steps are taken until it fits: headings are wrapped; columns that are the same
in every row move into a line above; long texts are wrapped; columns that the caller marked as optional are
left out, and a line below names them. A table of numbers that is still too wide is split into tables below
each other, each with the first column. Any other table becomes one record per row, one value per line.

Output that is not a terminal has no width, unless COLUMNS gives one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

from culnig.core.quantities import MISSING, number

Cell = str | int | float | None

GAP = "  "
PROSE = 30
"""Width from which a text is broken into lines before columns are given up."""
NARROW = 9
"""Least width of a column of broken texts."""
_NUMBER = re.compile(r"(< ?|> ?|[≥≤×] ?)?[-+−]?\d[\d,.]*(e[-+]?\d+)?( ?(%|×|s|min|h|[kMGT]?B))?")
_LIKE_NUMBER = re.compile(rf"{_NUMBER.pattern}(( …| to| of| /| →) {_NUMBER.pattern})*")


@dataclass(frozen=True)
class Column:
    """A column as text."""

    heading: str
    cells: tuple[str, ...]
    is_number: bool
    optional: int | None = None
    """Its position in the order in which columns are left out; None if it stays."""
    width: int | None = None
    """Width at which its texts are wrapped; None if they are not."""

    @property
    def natural(self) -> int:
        """Width of the widest cell, and of the widest line of the heading."""
        parts = [*self.cells, *self.heading_lines]
        return max(map(cell_len, parts), default=0)

    @property
    def shown_width(self) -> int:
        """Width of the column as it is shown."""
        return self.natural if self.width is None else self.width

    @property
    def heading_lines(self) -> list[str]:
        """The heading, which may be broken into lines."""
        return self.heading.split("\n")

    @property
    def least(self) -> int:
        """Width below which words would be split, or NARROW."""
        words = [word for text in (*self.cells, *self.heading_lines) for word in text.split(" ")]
        return min(self.natural, max(NARROW, min(24, max(map(cell_len, words), default=0))))

    @property
    def is_same(self) -> bool:
        """Whether every row has the same value, and not an empty one."""
        return len(set(self.cells)) == 1 and self.cells[0] not in ("", MISSING)


def cell_text(cell: Cell) -> str:
    """A cell as text: counts with their thousands separated, other numbers with three digits."""
    if cell is None:
        return MISSING
    if isinstance(cell, float):
        return number(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell


def tab_separated(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The title as a comment, then headings and rows, cells separated by tabs."""
    return [f"# {title}", "\t".join(headings), *("\t".join(row) for row in rows), ""]


@dataclass(frozen=True)
class Layout:
    """A table laid out."""

    above: str
    """Values that are the same in every row."""
    headings: list[str]
    body: list[str]
    below: str
    """What is left out."""


def laid_out(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    optional: Sequence[str] = (),
) -> Layout:
    """The table fitted to this width, or as wide as it is if there is none."""
    columns = _columns(headings, rows, optional)
    if width is None or _fits(columns, width):
        return _table(columns)
    columns = [_with_short_heading(column) for column in columns]
    above = below = ""
    if len(rows) > 1 and not _fits(columns, width):
        same = [column for column in columns[1:] if column.is_same]
        columns = [column for column in columns if column not in same]
        above = "; ".join(f"{_one_line(column.heading)} {column.cells[0]}" for column in same)
        above = f"In every row: {above}" if same else ""
    columns = _broken(columns, width, PROSE)
    left_out = []
    for column in sorted((c for c in columns if c.optional is not None), key=lambda c: c.optional or 0):
        if _fits(columns, width):
            break
        columns = [other for other in columns if other is not column]
        left_out.append(_one_line(column.heading))
    columns = _broken(columns, width, NARROW)
    if left_out:
        below = f"Not in this width: {', '.join(left_out)}; --plain prints all."
    if _fits(columns, width):
        return replace(_table(columns), above=above, below=below)
    numbers = columns[1:]
    if len(numbers) > 1 and all(c.is_number and _fits([columns[0], c], width) for c in numbers):
        return replace(_in_parts(columns, width), above=above, below=below)
    return Layout("", [], list(_records(_columns(headings, rows, ()), width)), "")


def _in_parts(columns: Sequence[Column], width: int) -> Layout:
    """Tables below each other, each with the first column and as many of the others as fit."""
    parts: list[list[Column]] = [[columns[0]]]
    for column in columns[1:]:
        if not _fits([*parts[-1], column], width):
            parts.append([columns[0]])
        parts[-1].append(column)
    first, *more = [_table(part) for part in parts]
    body = list(first.body)
    for table in more:
        body += ["", *table.headings, *table.body]
    return Layout("", first.headings, body, "")


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str]) -> list[Column]:
    columns = []
    for index, heading in enumerate(headings):
        cells = tuple(row[index] for row in rows)
        rank = optional.index(heading) if heading in optional else None
        columns.append(Column(heading, cells, _are_numbers(cells), rank))
    return columns


def _with_short_heading(column: Column) -> Column:
    """The heading in lines no wider than the cells or its longest word."""
    heading = column.heading.replace(" %", "\xa0%")
    least = max(map(cell_len, [*column.cells, *heading.split(" ")]), default=0)
    return replace(column, heading="\n".join(wrapped(heading, max(1, least))))


def _are_numbers(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell not in ("", MISSING)]
    return bool(known) and all(_LIKE_NUMBER.fullmatch(cell) for cell in known)


def _one_line(heading: str) -> str:
    return heading.replace("\n", " ")


def _fits(columns: Sequence[Column], width: int) -> bool:
    return sum(column.shown_width for column in columns) + len(GAP) * (len(columns) - 1) <= width


def _broken(columns: Sequence[Column], width: int, least: int) -> list[Column]:
    """The columns with the widest texts broken into lines, down to `least`, until the table fits."""
    columns = list(columns)
    while not _fits(columns, width):
        able = [c for c in columns if not c.is_number and c.shown_width > max(least, c.least)]
        if not able:
            return columns
        widest = max(able, key=lambda column: column.shown_width)
        columns[columns.index(widest)] = replace(widest, width=widest.shown_width - 1)
    return columns


def _table(columns: Sequence[Column]) -> Layout:
    headings = list(_lines([column.heading_lines for column in columns], columns, at_foot=True))
    rule = GAP.join("─" * column.shown_width for column in columns)
    body = [rule] if columns else []
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = [
            [cell] if column.width is None else wrapped(cell, column.width)
            for cell, column in zip(row, columns, strict=True)
        ]
        body += _lines(cells, columns)
    return Layout("", headings, body, "")


def _lines(
    cells: Sequence[Sequence[str]], columns: Sequence[Column], *, at_foot: bool = False
) -> Iterator[str]:
    """The lines of one row, whose cells may have several."""
    height = max(map(len, cells), default=0)
    for index in range(height):
        parts = []
        for cell, column in zip(cells, columns, strict=True):
            offset = index - (height - len(cell)) if at_foot else index
            text = cell[offset] if 0 <= offset < len(cell) else ""
            space = " " * (column.shown_width - cell_len(text))
            parts.append(space + text if column.is_number else text + space)
        yield GAP.join(parts).rstrip().replace("\xa0", " ")


def _records(columns: Sequence[Column], width: int) -> Iterator[str]:
    """One record per row: the first value, then a line for each of the other columns."""
    names = max((cell_len(column.heading) for column in columns[1:]), default=0)
    names = max(1, min(names, (width - 2 * len(GAP)) // 2))
    values = max(1, width - names - 2 * len(GAP))
    for row in range(len(columns[0].cells) if columns else 0):
        yield from wrapped(f"{columns[0].heading} {columns[0].cells[row]}".strip(), width)
        for column in columns[1:]:
            pairs = zip_longest(
                wrapped(column.heading, names), wrapped(column.cells[row], values), fillvalue=""
            )
            for name, value in pairs:
                yield f"{GAP}{name}{' ' * (names - cell_len(name))}{GAP}{value}".rstrip()


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most this width, broken at spaces, and inside a word only if it is longer."""
    lines, line = [], ""
    for word in text.replace(" × ", " ×\xa0").split(" "):
        for piece in chop_cells(word, width) if cell_len(word) > width else [word]:
            joined = f"{line} {piece}" if line else piece
            if cell_len(joined) > width:
                lines.append(line)
                joined = piece
            line = joined
    return [line.replace("\xa0", " ") for line in (*lines, line)]
