"""Cultures by the spellings that users and data files have for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from culnig import registry
from culnig.core.folding import composed, folded
from culnig.cultures.records import Culture, plugin_cultures
from culnig.errors import DataFileError, InputError, UnknownNameError, command
from culnig.provenance import file_hashes


class CultureSpellings:
    """Cultures by key and by a benchmark's spelling, otherwise by another name or by ISO code.

    Other names are the display name, the name in a sentence and `other_names`. Case, width and composition of
    names make no difference; ISO codes are upper-case.
    """

    def __init__(self, records: Iterable[Culture], benchmark: str = "") -> None:
        self._records = {record.key: record for record in records}
        self._own: dict[str, set[str]] = {}
        self._names: dict[str, set[str]] = {}
        self._codes: dict[str, set[str]] = {}
        self._shown: set[str] = set()
        for key, record in self._records.items():
            names = [key, record.display_name, record.in_sentence, *record.other_names]
            self._shown |= {record.display_name, *record.other_names}
            if own := record.names.get(benchmark):
                self._own.setdefault(composed(own), set()).add(key)
                names.append(own)
            for name in names:
                self._names.setdefault(_plain(name), set()).add(key)
            for code in filter(None, (record.iso, record.iso3)):
                self._codes.setdefault(code, set()).add(key)
        self._keys = {composed(key): {key} for key in self._records}

    def find(self, spelling: str) -> Culture:
        """The culture; UnknownNameError with near keys, InputError if a spelling has several cultures."""
        spelling = composed(spelling.strip())
        named = self._own.get(spelling) or self._keys.get(spelling) or self._names.get(_plain(spelling))
        keys = named or self._codes.get(spelling)
        if not keys:
            known, next_step = {*self._keys, *self._own}, f"see {command('list cultures')}"
            raise UnknownNameError("culture", spelling, known, next_step, also=self._shown)
        if len(keys) > 1:
            several = " or ".join(map(repr, sorted(keys)))
            raise InputError(f"several cultures are called {spelling!r}; write the key {several}")
        return self._records[next(iter(keys))]

    def in_sentence(self, record: Culture, spelling: str) -> str | None:
        """The culture's name in a sentence; None if the record may mean less than the spelling.

        The record `Nigeria` is called `northern Nigeria` in sentences. Data that say `Nigeria` or `NG` may be
        about the whole country; `Northern Nigeria` is clear.
        """
        if composed(spelling.strip()) in self._own:
            return name_in_sentence(record, spelling)
        clear = {_plain(record.in_sentence), _plain(record.display_name)}
        if _plain(spelling) in clear or name_in_sentence(record, record.key) == record.in_sentence:
            return record.in_sentence
        return None


def use_cultures(folder: Path | str) -> None:
    """Add the records of a folder, one per `*.toml` file, to those that are known in this process.

    Runs and evaluations record the hashes of the files beside those of benchmarks about such a culture.
    DataFileError for a malformed record, PluginError for a key that another record has.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataFileError(folder, "no such folder with culture records (*.toml)")
    files = file_hashes(sorted(folder.resolve().glob("*.toml")))
    registry.add_cultures(str(folder), plugin_cultures(folder), files)


def culture_keys(names: Sequence[str], known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Keys of the cultures that a user names by key, name or ISO code, each once.

    `known` are the cultures to choose from, such as those of a run, which need no records; by default all
    that have one. UnknownNameError with near names, InputError for a name of several cultures.
    """
    if all(name in (known or ()) for name in names):
        return tuple(dict.fromkeys(names))  # without reading the records
    spellings = CultureSpellings(registry.cultures().values())
    return tuple(dict.fromkeys(_key(name, spellings, known) for name in names))


def _key(name: str, spellings: CultureSpellings, known: Sequence[str] | None) -> str:
    if known is None:
        return spellings.find(name).key
    if name in known:
        return name
    with contextlib.suppress(UnknownNameError):
        if (key := spellings.find(name).key) in known:
            return key
    raise UnknownNameError("culture of this run:", name, known)


def name_in_sentence(record: Culture, spelling: str) -> str:
    """A culture's name in a sentence of a benchmark that spells it in its own way.

    A benchmark that has `Nigeria` asks about the whole country, even if the record says `northern Nigeria`.
    """
    narrower = set(_plain(spelling).split()) < set(_plain(record.in_sentence).split())
    return spelling.strip().replace("_", " ") if narrower else record.in_sentence


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    return folded(name.replace("_", " ")).removeprefix("the ")
