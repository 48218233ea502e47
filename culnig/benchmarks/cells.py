"""Cells of a data file as text, and the answer that a cell names among the options.

Every cell is read by `cell_text`, whatever the format of its file, and every answer by `answer_index`.
"""

from __future__ import annotations

import re
import reprlib
import string
from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Literal

from culnig.core.folding import composed, folded
from culnig.core.text import is_storable

MISSING = ("nan", "NaN", "None", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT")
"""What programs write into a text file for a cell without a value."""

AnswerKind = Literal["letter", "number", "text", "boolean", "column"]

_NUMBER = re.compile(r"(\d{1,9})(\.0+)?")


class CellError(ValueError):
    """A cell holds no text, or not what its column is for. `Row.error` adds file, line and column."""


def cell_text(value: Any, missing: Collection[str] = ()) -> str:
    """A cell's value as text: a text, a number or a date.

    CellError if it is empty, null or NaN, one of the texts `missing`, half of a character, or no text at all.
    """
    text = value if isinstance(value, str) else _plain_text(value)
    stripped = text.strip()
    if not stripped:
        raise CellError(f"no value ({value!r}); fill the cell or remove the row")
    if not is_storable(text):
        raise CellError(f"{text!r} holds a NUL or half of a character; the file is damaged, save it again")
    if stripped in missing:
        raise CellError(
            f"{stripped!r} marks a missing value; fill the cell or remove the row, or declare "
            "`missing: []` if it is a text of your data"
        )
    return text


def _plain_text(value: Any) -> str:
    """A number or date as text."""
    number = float("nan") if isinstance(value, Decimal) and value.is_nan() else value
    if isinstance(number, float | Decimal) and not isfinite(number):
        if isnan(number):
            raise CellError(f"no value ({value!r}); fill the cell or remove the row")
        raise CellError(f"expected text or a finite number, got {value!r}")
    if value is None:
        raise CellError("no value (None); fill the cell or remove the row")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | date):
        raise CellError(f"expected text, got {reprlib.repr(value)}; write it as text")
    return str(value)


def position(text: str, entries: Sequence[str]) -> int | None:
    """Index of the only entry that equals a text, or else equals it after folding; None without one."""
    if entries.count(text) == 1:
        return entries.index(text)
    for form in (composed, folded):
        formed = form(text)
        if matches := [index for index, entry in enumerate(entries) if form(entry) == formed]:
            return matches[0] if len(matches) == 1 else None
    return None


def check_options(options: Sequence[str]) -> None:
    """CellError if there are too many options for letters, or two that readers cannot tell apart."""
    if len(options) > len(string.ascii_uppercase):
        raise CellError(f"{len(options)} options; at most {len(string.ascii_uppercase)} have a letter")
    first: dict[str, int] = {}
    for index, option in enumerate(options):
        earlier = first.setdefault(folded(option), index)
        if earlier != index:
            same = f"options {earlier + 1} and {index + 1} are the same, {options[earlier]!r} and {option!r}"
            raise CellError(f"{same}; give every option a text of its own")


def answer_index(cell: str, options: Sequence[str], kind: AnswerKind | None, *, starts_at: int = 1) -> int:
    """Index of the option that a cell of the answer column names.

    `kind` None is a letter that nobody declared: it is refused if it is also the text of another option.
    `starts_at` is the number of the first option. CellError says what is allowed.
    """
    as_text = position(cell, options)
    if kind == "text":
        if as_text is None:
            raise CellError(f"{cell!r} must be exactly one of the options {', '.join(options)}")
        return as_text
    if kind == "number":
        allowed = [str(number) for number in range(starts_at, starts_at + len(options))]
        digits = _NUMBER.fullmatch(folded(cell))
        index = position(str(int(digits[1])), allowed) if digits else None
    else:
        allowed = list(string.ascii_uppercase[: len(options)])
        index = position(cell, allowed)
    if index is None:
        problem = f"unknown answer {kind or 'letter'} {cell!r}; allowed: {', '.join(allowed)}"
        raise CellError(problem + _advice(cell, kind, starts_at, len(options), as_text))
    if kind is None and as_text is not None and as_text != index:
        problem = f"{cell!r} is the letter of option {index + 1} and the text of option {as_text + 1}"
        raise CellError(f"{problem}; declare `answer_is: letter` or `answer_is: text`")
    return index


def _advice(cell: str, kind: AnswerKind | None, starts_at: int, n_options: int, as_text: int | None) -> str:
    digits = _NUMBER.fullmatch(folded(cell))
    if kind == "number" and digits and int(digits[1]) in (0, n_options):
        return f"; if the first option is number {1 - starts_at}, declare `answer_starts_at: {1 - starts_at}`"
    if as_text is not None:
        return f"; it is the text of option {as_text + 1}: if answers are texts, declare `answer_is: text`"
    if kind != "number" and digits:
        return "; if answers are numbers, declare `answer_is: number`"
    return ""
