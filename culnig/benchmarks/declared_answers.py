"""The options of a declared row, which of them are right, and the shares of people who chose each."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from culnig.benchmarks.cells import CellError, answer_index, check_options, position
from culnig.benchmarks.declaration import Declaration
from culnig.benchmarks.nested import plain
from culnig.benchmarks.rows import Row

_SUMS = {"shares": (1.0, 0.02), "percent": (100.0, 2.0)}
"""What the values of a distribution sum up to, and how far rounding may lead them from it."""
_LABELLED = re.compile(r"\s*\(?(\w{1,2})\s*[.):]\s*(.*\S)\s*", re.DOTALL)
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class NoMajority(Exception):
    """All options of a distribution are equally common, so none is the answer."""


@dataclass(frozen=True)
class RowAnswers:
    """Options of a row and what is known about them."""

    options: list[str]
    right: list[int]
    """Indices of the right options, at least one; the first is the gold answer."""
    distribution: list[float]
    """Share of each option; empty if the row has none."""


class DeclaredAnswers:
    """Reads options and answers as a declaration says."""

    def __init__(self, declaration: Declaration, missing: Collection[str]) -> None:
        """`missing` are texts that mark a missing value in answers and options."""
        self._declared = declaration
        self._missing = missing

    def read(self, row: Row, starts_at: int, fill: Callable[[str], str] = str) -> RowAnswers:
        """Options and answers, with their placeholders filled by `fill`.

        `starts_at` is the number of the first option. DataFileError names line and column; NoMajority if all
        options of a distribution are equally common.
        """
        written = self._options(row)
        options = [fill(text) for text in written]
        try:
            check_options(options)
        except CellError as error:
            raise row.error(str(error), self._option_column) from None
        if self._declared.columns.distribution is not None:
            shares = self._distribution(row, written)
            most = max(shares)
            right = [index for index, share in enumerate(shares) if share == most]
            if len(right) == len(options):
                raise NoMajority
            return RowAnswers(options, right, shares)
        right = []
        for text, column in self._answers(row, written):
            index = self._index(row, fill(text), options, starts_at, column)
            if index in right:
                raise row.error(f"{text!r} is right twice; name every right option once", column)
            right.append(index)
        if len(right) == len(options):
            raise row.error(f"all {len(options)} options are right; some must be wrong", column)
        return RowAnswers(options, right, [])

    @property
    def _option_column(self) -> str | None:
        options = self._declared.columns.options
        return options if isinstance(options, str) else None

    def _options(self, row: Row) -> list[str]:
        declared = self._declared
        options = declared.columns.options
        if options is None:
            return list(declared.options_are)
        if isinstance(options, str):
            texts = row.texts(options, self._missing, separator=declared.options_split)
            return [self._unlabelled(row, text, n) for n, text in enumerate(texts)]
        names = list(options)
        while declared.fewer_options and len(names) > 2 and _is_empty(row.value(names[-1])):
            names.pop()
        return [self._unlabelled(row, row.text(name, self._missing), n) for n, name in enumerate(names)]

    def _unlabelled(self, row: Row, text: str, index: int) -> str:
        """An option without its own label, if the declaration says that it has one."""
        if not self._declared.options_labelled:
            return text
        match = _LABELLED.fullmatch(text)
        labels = (string.ascii_uppercase[index], str(index), str(index + 1))
        if match is None or match[1].upper() not in labels:
            problem = f"option {index + 1}, {text!r}, does not begin with its label, such as {labels[0]}."
            raise row.error(f"{problem}; correct it, or remove `options_labelled`", self._option_column)
        return match[2]

    def _answers(self, row: Row, options: Sequence[str]) -> list[tuple[str, str]]:
        """Each right answer as written, with its column."""
        columns = self._declared.columns.answer
        if columns is None:
            return []
        answers: list[tuple[str, str]] = []
        several = not isinstance(columns, str)
        for column in columns if not isinstance(columns, str) else [columns]:
            value = row.value(column)
            if several and answers and _is_empty(value):
                continue  # a row may have fewer right answers than columns
            if self._declared.answer_is == "boolean":
                answers.append((str(value).strip().casefold(), column))
            elif separator := self._declared.answer_split:
                texts = row.text(column, self._missing).split(separator)
                answers += [(text.strip(), column) for text in texts]
            elif isinstance(plain(value), list) and position(str(value), options) is None:
                answers += [(text, column) for text in row.texts(column, self._missing, least=1)]
            else:
                answers.append((row.text(column, self._missing), column))
        return answers

    def _index(self, row: Row, text: str, options: Sequence[str], starts_at: int, column: str) -> int:
        if self._declared.answer_is == "boolean":
            if text not in _TRUTHS:
                raise row.error(f"{text!r} is neither true nor false; allowed: {', '.join(_TRUTHS)}", column)
            return 0 if _TRUTHS[text] else 1
        if self._declared.answer_is == "column":
            columns = list(self._declared.columns.options or ())[: len(options)]
            index = position(text, columns)
            if index is None:
                allowed = ", ".join(columns)
                raise row.error(f"{text!r} is no column of an option; allowed: {allowed}", column)
            return index
        try:
            return answer_index(text, options, self._declared.answer_kind, starts_at=starts_at)
        except CellError as error:
            raise row.error(str(error), column) from None

    def _distribution(self, row: Row, options: Sequence[str]) -> list[float]:
        """The shares of the options, with the sum 1."""
        columns = self._declared.columns.distribution
        column = columns if isinstance(columns, str) else None
        if isinstance(columns, str):
            values = plain(row.value(columns))
            if isinstance(values, Mapping):
                values = self._by_option(row, values, options, columns)
            if not isinstance(values, list):
                raise row.error(f"expected a list or dictionary of numbers, got {values!r:.80}", column)
        else:
            values = [row.value(name) for name in columns or ()]
            while self._declared.fewer_options and len(values) > len(options) and _is_empty(values[-1]):
                values.pop()
        if len(values) != len(options):
            raise row.error(f"{len(values)} shares for {len(options)} options; give every option one", column)
        shares = [_number(row, value, column) for value in values]
        total, kind = sum(shares), self._declared.distribution_in
        expected, tolerance = _SUMS.get(kind, (total, 0.0))
        if abs(total - expected) > tolerance or total <= 0:
            raise row.error(
                f"the shares sum to {total:g}, not {expected:g}; declare `distribution_in: shares` (sum 1), "
                "`percent` (sum 100) or `counts` (any sum), or correct the row",
                column,
            )
        return [share / total for share in shares]

    @staticmethod
    def _by_option(row: Row, values: Mapping[Any, Any], options: Sequence[str], column: str) -> list[Any]:
        """The values of a dictionary in the order of the options that are its keys."""
        indices = {position(str(key), options): value for key, value in values.items()}
        if None in indices or len(indices) != len(values):
            unknown = next((key for key in values if position(str(key), options) is None), None)
            problem = "two keys are the same option" if unknown is None else f"{unknown!r} is no option"
            raise row.error(f"{problem}; options: {', '.join(options)}", column)
        return [indices.get(index, 0) for index in range(len(options))]


def _is_empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _number(row: Row, value: Any, column: str | None) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < float("inf"):
        raise row.error(f"a share must be a number from 0, got {value!r}", column)
    return number
