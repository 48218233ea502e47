"""Culture records: the program's knowledge of each culture, in one TOML file per culture.

The built-in records are in `data/cultures/`. Every other country of ISO 3166 has a record in
`data/iso_cultures.toml`, made from public lists, which gives way to any other record of the country. A plugin
adds records by registering a function that returns a list of `Culture` in the entry-point group
`culnig.cultures`, usually `plugin_cultures` with a folder of its own. To add a culture, copy the file of a
similar one and edit it; reading reports every error by file and field.

Regions are the subregions of the United Nations' M49 standard. Zones are those of the Inglehart–Welzel
cultural map (World Values Survey, 2023); a culture that is not on the map has the zone of its country or of
its closest neighbours. Both lists are fixed, because a typing error would silently create a group of one
culture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from culnig.core.data_files import own_data, read_toml
from culnig.errors import DataFileError, InputError

ZONES = (
    "African-Islamic",
    "Catholic Europe",
    "Confucian",
    "English-Speaking",
    "Latin America",
    "Orthodox Europe",
    "Protestant Europe",
    "West & South Asia",
)
REGIONS = (
    "Northern Africa",
    "Eastern Africa",
    "Middle Africa",
    "Southern Africa",
    "Western Africa",
    "Caribbean",
    "Central America",
    "South America",
    "Northern America",
    "Central Asia",
    "Eastern Asia",
    "South-eastern Asia",
    "Southern Asia",
    "Western Asia",
    "Eastern Europe",
    "Northern Europe",
    "Southern Europe",
    "Western Europe",
    "Australia and New Zealand",
    "Melanesia",
    "Micronesia",
    "Polynesia",
)

_ISO = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_ISO3 = re.compile(r"[A-Z]{3}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_TEXT = ("key", "display_name", "in_sentence", "iso", "region", "zone")
_LISTS = ("languages", "other_names", "related")


@dataclass(frozen=True)
class Culture:
    """One culture: a country, or a part of one."""

    key: str
    """Name of the culture in every file and on the command line."""
    display_name: str
    """Name in tables and figures: `United States`."""
    in_sentence: str
    """Name in a sentence, after a preposition: `the United States`, `northern Nigeria`."""
    iso: str
    """ISO 3166-1 alpha-2 (`ES`), or ISO 3166-2 for a part of a country (`IN-AS`)."""
    region: str
    """One of `REGIONS`."""
    zone: str
    """One of `ZONES`; empty for a country whose zone nobody has entered."""
    languages: tuple[str, ...]
    """BCP-47 codes; the first is the language of local-language questions."""
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Spelling of the culture in each benchmark: `{"blend": "US"}`."""
    other_names: tuple[str, ...] = ()
    """Further names, such as the one of ISO 3166: `Korea, Republic of`."""
    related: tuple[str, ...] = ()
    """Keys of cultures that share its language, country or much of its history."""
    specific_target: bool = False
    """Whether the paper selects culture-specific neurons of this culture."""
    iso3: str = ""
    """ISO 3166-1 alpha-3 (`ESP`); empty for a part of a country, and where nobody has entered it."""
    is_fallback: bool = False
    """Whether the record was made from public lists, and gives way to another with its key or code."""

    def __post_init__(self) -> None:
        texts = {name: getattr(self, name) for name in _TEXT}
        for name, value in {**texts, **{f"names.{b}": s for b, s in self.names.items()}}.items():
            if value != value.strip() or not (value or name == "zone"):
                self._refuse(name, value, "must be text without surrounding spaces")
        if not _ISO.fullmatch(self.iso):
            self._refuse("iso", self.iso, "must be ISO 3166, such as 'ES' or 'IN-AS'")
        if self.iso3 and not _ISO3.fullmatch(self.iso3):
            self._refuse("iso3", self.iso3, "must be ISO 3166-1 alpha-3, such as 'ESP'")
        if self.region not in REGIONS:
            self._refuse("region", self.region, f"must be one of {', '.join(REGIONS)}")
        if self.zone not in (*ZONES, ""):
            self._refuse("zone", self.zone, f"must be one of {', '.join(ZONES)}")
        if not self.languages:
            self._refuse("languages", self.languages, "must hold at least one language")
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                self._refuse("languages", language, "must be BCP-47, such as 'es', 'zh-Hant' or 'pt-BR'")
        for name in self.other_names:
            if not name or name != name.strip():
                self._refuse("other_names", name, "must be text without surrounding spaces")
        for name in _LISTS:
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                self._refuse(name, getattr(self, name), "must not contain a value twice")
        if self.key in self.related:
            self._refuse("related", self.key, "must not name the culture itself")

    def _refuse(self, name: str, value: object, allowed: str) -> None:
        raise InputError(f"culture {self.key!r}: {name} = {value!r}; {allowed}")


def builtin_cultures() -> list[Culture]:
    """The records of this package: those in `data/cultures/`, then those made from public lists, by key each.

    Records of our own also have the further names of the public lists.
    """
    path = own_data("iso_cultures.toml")
    lists = read_toml(path)
    alpha_3: dict[str, str] = lists["alpha_3"]
    more: dict[str, list[str]] = lists["other_names"]
    own = [
        replace(
            record,
            other_names=(*record.other_names, *more.get(record.iso, ())),
            iso3=record.iso3 or alpha_3.get(record.iso, ""),
        )
        for record in read_cultures(own_data("cultures"))
    ]
    made = [
        _culture(path, {"zone": "", "iso3": alpha_3[table["iso"]], **table}, is_fallback=True)
        for table in lists["cultures"]
    ]
    return own + sorted(made, key=lambda culture: culture.key)


def plugin_cultures(folder: Path) -> list[Culture]:
    """The records of a plugin's folder; `related` may name each other or built-in records."""
    return read_cultures(folder, known=[culture.key for culture in builtin_cultures()])


def read_cultures(folder: Path, known: Iterable[str] = ()) -> list[Culture]:
    """The records of a folder, one per `*.toml` file, sorted by key.

    `known` are keys outside the folder that `related` may name. DataFileError names the file, and the culture
    or field with the error.
    """
    files = {path: _read_culture(path) for path in sorted(folder.glob("*.toml"))}
    if not files:
        raise DataFileError(folder, "no culture records (*.toml) here")
    owners: dict[tuple[str, str], Path] = {}
    for path, culture in files.items():
        claims = {"key": culture.key, **{f"names.{name}": text for name, text in culture.names.items()}}
        for claim in claims.items():
            if claim in owners:
                problem = f"{claim[0]} = {claim[1]!r} is already taken by {owners[claim].name}"
                raise DataFileError(path, f"culture {culture.key!r}: {problem}")
            owners[claim] = path
    keys = {culture.key for culture in files.values()} | set(known)
    for path, culture in files.items():
        for other in culture.related:
            if other not in keys:
                problem = f"related names {other!r}, but no record has this key"
                raise DataFileError(path, f"culture {culture.key!r}: {problem}")
    return sorted(files.values(), key=lambda culture: culture.key)


def _read_culture(path: Path) -> Culture:
    return _culture(path, read_toml(path))


def _culture(path: Path, table: Mapping[str, Any], *, is_fallback: bool = False) -> Culture:
    allowed = {entry.name: entry for entry in fields(Culture) if entry.name != "is_fallback"}
    who = f"culture {table['key']!r}: " if "key" in table else ""
    for name, value in table.items():
        if name not in allowed:
            problem = f"unknown field {name!r}; allowed: {', '.join(allowed)}"
            raise DataFileError(path, who + problem)
        if not _has_type(name, value):
            problem = f"{name} = {value!r} must be {_type_of(name)}"
            raise DataFileError(path, who + problem)
    for name, entry in allowed.items():
        optional = entry.default is not MISSING or entry.default_factory is not MISSING
        if name not in table and not optional:
            raise DataFileError(path, f"{who}the field {name!r} is missing")
    values: dict[str, Any] = {n: tuple(v) if n in _LISTS else v for n, v in table.items()}
    try:
        return Culture(**values, is_fallback=is_fallback)
    except InputError as error:
        raise DataFileError(path, error.args[0]) from None


def _type_of(name: str) -> str:
    if name in _LISTS:
        return "a list of texts"
    return {"names": "a table of texts", "specific_target": "true or false"}.get(name, "text")


def _has_type(name: str, value: Any) -> bool:
    if name in _LISTS:
        return isinstance(value, list) and _all_text(value)
    if name == "names":
        return isinstance(value, dict) and _all_text(list(value.values()))
    return isinstance(value, bool if name == "specific_target" else str)


def _all_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
