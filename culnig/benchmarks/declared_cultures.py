"""The culture of a declared row, and its name in a sentence.

Data spell cultures in ways of their own. `cultures` of the declaration comes first, then what culture records
know. If a row has a spelling that nobody knows, the error lists all of them with lines to fill in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from culnig import registry
from culnig.benchmarks.declaration import Declaration
from culnig.benchmarks.declared_wordings import COUNTRY
from culnig.benchmarks.rows import Row
from culnig.core.folding import composed, folded
from culnig.cultures.records import Culture
from culnig.cultures.spellings import CultureSpellings
from culnig.errors import DataFileError, InputError, UnknownNameError, command

_UNKNOWN_SHOWN = 40
"""Most spellings that an error lists."""
_TO_FILL_IN = '"?"'


class UnknownCulture(Exception):
    """A spelling that neither the declaration nor a record knows."""

    def __init__(self, spelling: str, near_names: list[str]) -> None:
        super().__init__(spelling)
        self.spelling, self.near_names = spelling, near_names


class DeclaredCultures:
    """Finds the cultures of a declaration at `path`."""

    def __init__(self, declaration: Declaration, path: Path) -> None:
        self._declared = declaration
        self._path = path
        self._column = declaration.columns.culture
        self._missing = frozenset(declaration.missing)

    def find(self, row: Row) -> tuple[Culture | None, str]:
        """Culture of a row and its spelling, empty if there is none; None for a culture that is left out.

        UnknownCulture if nobody knows it; DataFileError if it may be several.
        """
        if self._column is None:
            return self._of_all
        spelling = row.text(self._column, self._missing)
        if self._declared.culture_is == "mentioned":
            return self._mentioned_in(row, spelling)
        try:
            return self._known(spelling), spelling
        except UnknownNameError as error:
            raise UnknownCulture(spelling.strip(), error.near_names) from None
        except InputError as error:
            raise row.error(error.args[0], self._column) from None

    def _mentioned_in(self, row: Row, text: str) -> tuple[Culture | None, str]:
        names = self._mention.findall(composed(text))
        mentions = {name: self._mapped[folded(name)] for name in names}
        keys = {None if culture is None else culture.key for culture in mentions.values()}
        if len(keys) != 1:
            problem = f"{text!r} mentions {' and '.join(mentions) or 'none of the names in `cultures`'}"
            raise row.error(f"{problem}; exactly one is needed", self._column)
        (mention, culture), *_ = mentions.items()
        return culture, mention

    @cached_property
    def _mention(self) -> re.Pattern[str]:
        """Matches the names of `cultures` as whole words, longer ones first."""
        names = sorted(map(composed, self._declared.cultures), key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)", re.IGNORECASE)

    def without_mention(self, row: Row) -> str:
        """The text that mentions the culture, the same for all cultures; empty where cultures are named."""
        if self._column is None or self._declared.culture_is == "named":
            return ""
        return self._mention.sub("…", composed(row.text(self._column, self._missing))).strip()

    def _known(self, spelling: str) -> Culture | None:
        plain = folded(spelling)
        return self._mapped[plain] if plain in self._mapped else self._spellings.find(spelling)

    @cached_property
    def _of_all(self) -> tuple[Culture | None, str]:
        """The declared culture of all rows."""
        spelling = self._declared.culture
        if spelling is None:
            return None, ""
        try:
            return self._spellings.find(spelling), spelling
        except InputError as error:
            raise DataFileError(self._path, error.args[0]) from None

    @cached_property
    def _mapped(self) -> dict[str, Culture | None]:
        """Declared cultures by folded spelling."""
        mapped: dict[str, Culture | None] = {}
        for spelling, named in self._declared.cultures.items():
            try:
                culture = None if named is None else self._spellings.find(named)
            except InputError as error:
                raise DataFileError(self._path, f"cultures: {spelling}: {error.args[0]}") from None
            if mapped.setdefault(folded(spelling), culture) is not culture:
                raise DataFileError(self._path, f"cultures: {spelling!r} is also written in another way")
        return mapped

    @cached_property
    def _spellings(self) -> CultureSpellings:
        return CultureSpellings(registry.cultures().values(), self._declared.name)

    def error(self, unknown: UnknownCulture, row: Row, rows: Iterable[Row]) -> DataFileError:
        """The error for a row with an unknown culture; `rows` are all, to list what else is unknown."""
        column = self._column or ""
        all_unknown = {unknown.spelling: unknown}
        for each in rows:
            try:
                self.find(each)
            except UnknownCulture as further:
                all_unknown.setdefault(further.spelling, further)
            except DataFileError:
                continue  # the first error is the one to report
            if len(all_unknown) >= _UNKNOWN_SHOWN:
                break
        near = " or ".join(map(repr, unknown.near_names))
        lines = [
            f"  {json.dumps(spelling, ensure_ascii=False)}: {_TO_FILL_IN}  # {', '.join(each.near_names)}"
            for spelling, each in all_unknown.items()
        ]
        problem = f"unknown culture {unknown.spelling!r}; did you mean {near}? Unknown: {len(all_unknown)}"
        advice = (
            f"correct them, or put these lines into {self._path.name}, with a key of "
            f"{command('list cultures')} in place of each {_TO_FILL_IN}, or null to leave its rows out"
        )
        return row.error("\n".join([f"{problem}; {advice}:", "cultures:", *lines]), column)

    def in_sentence(self, row: Row, record: Culture | None, spelling: str) -> str:
        """What {country} becomes in a row."""
        if record is None:
            problem = f"{COUNTRY} needs a culture; declare culture or columns.culture"
            raise row.error(problem, self._declared.columns.question)
        if name := self._country_names.get(record.key):
            return name
        name = self._spellings.in_sentence(record, spelling)
        if name is None:
            problem = f"{COUNTRY} of {spelling!r} would be {record.in_sentence!r}, which may mean less"
            choice = " or ".join(f"`{{{record.key}: {text}}}`" for text in (record.in_sentence, record.key))
            problem = f"{problem}; declare the name in a sentence as country_names: {choice}"
            if self._column:
                raise row.error(problem, self._column)
            raise DataFileError(self._path, problem)
        return name

    @cached_property
    def _country_names(self) -> dict[str, str]:
        """Declared names in a sentence, by key."""
        try:
            declared = self._declared.country_names.items()
            return {self._spellings.find(spelling).key: name for spelling, name in declared}
        except InputError as error:
            raise DataFileError(self._path, f"country_names: {error.args[0]}") from None
