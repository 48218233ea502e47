"""A table of a report, and the same table as CSV and LaTeX (booktabs) for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from culnig.core.quantities import number, p_text, percent, points
from culnig.core.text import csv_row, visible

Cell = str | int | float | None

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


@dataclass(frozen=True)
class Table:
    """Rows under headings."""

    name: str
    """File name, without suffix."""
    caption: str
    headings: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    formats: tuple[str, ...] = ()
    """Number format of each column, such as `+.3f`, `%` or `p` (`number_text`); text is shown unchanged."""

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which are right-aligned."""
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)

    def text(self, column: int, cell: Cell) -> str:
        """A cell formatted for readers."""
        return number_text(cell, self.formats[column] if column < len(self.formats) else "")

    def csv(self) -> str:
        """The table as CSV, with headings and unrounded numbers; no text is a spreadsheet's formula."""
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(csv_row(self.headings))
        writer.writerows(map(csv_row, self.rows))
        return written.getvalue()

    def latex(self) -> str:
        """The table as a LaTeX environment; needs the package booktabs."""
        sides = "".join("r" if self.is_number(column) else "l" for column in range(len(self.headings)))
        lines = [_latex_row(self.headings), r"\midrule"]
        lines += [
            _latex_row([self.text(column, cell) for column, cell in enumerate(row)]) for row in self.rows
        ]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_text(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{sides}}}",
                r"\toprule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


_FORMS: dict[str, Callable[[float], str]] = {
    "%": percent,
    "+%": points,
    "3": number,
    "+3": partial(number, signed=True),
}


def number_text(cell: Cell, form: str) -> str:
    """Format a value: `p` is for p-values, `%` for shares, `+%` for their changes in points, `3` and `+3` for
    three digits of any number; all others are Python's.
    """
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if form == "p":
        return p_text(cell)
    if form in _FORMS:
        text = _FORMS[form](cell)
        return "−" + text[1:] if text.startswith("-") else text
    if form.endswith("%"):
        return format(cell, form).replace("%", " %").replace("-", "−")
    if form:
        return format(cell, form).replace("e-", "e@").replace("-", "−").replace("e@", "e-")
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}".replace("-", "−")


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(map(latex_text, cells)) + r" \\"
    return "{}" + row if row.startswith(("[", "*")) else row  # the row before would take it as an argument


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    joined = "".join(_LATEX.get(character, character) for character in visible(" ".join(text.split())))
    return joined.replace("−", "$-$").replace("–", "--")
