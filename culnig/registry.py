"""The registered models, benchmarks, cultures, scorers and lemmatizers, built-in or from plugins.

Everything comes from entry points (groups `culnig.models`, `culnig.benchmarks`, `culnig.cultures`,
`culnig.scorers`, `culnig.lemmatizers`, `culnig.aggregators`), the built-ins too, so a plugin can do whatever
a built-in does. A benchmark may also be a file that declares one. Entries are loaded on first use.
A plugin that cannot be loaded is reported by `problems()` and skipped; it never breaks a command that does
not need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from culnig.errors import PluginError, UnknownNameError, command

if TYPE_CHECKING:
    from culnig.benchmarks.base import Benchmark
    from culnig.cultures.records import Culture
    from culnig.lemmatizers.base import Lemmatizer
    from culnig.models.base import ModelAdapter
    from culnig.scorers.base import Scorer

MODELS = "culnig.models"
BENCHMARKS = "culnig.benchmarks"
BENCHMARK_FILES = "culnig.benchmark_files"
CULTURES = "culnig.cultures"
LEMMATIZERS = "culnig.lemmatizers"
AGGREGATORS = "culnig.aggregators"
SCORERS = "culnig.scorers"

DECLARATION_SUFFIXES = (".yaml", ".yml", ".toml")
CONTROL_OF_DECLARATION = "#control"

_problems: dict[str, str] = {}


def _owner(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown package"


@cache
def _entries(group: str) -> dict[str, metadata.EntryPoint]:
    """Entry points of a group by name; PluginError if two packages claim one name."""
    entries: dict[str, metadata.EntryPoint] = {}
    for entry in sorted(metadata.entry_points(group=group), key=lambda e: (e.name, _owner(e))):
        other = entries.get(entry.name)
        if other is not None and (other.value, _owner(other)) != (entry.value, _owner(entry)):
            raise PluginError(
                f"two packages register {entry.name!r} in {group}: {_owner(other)} ({other.value}) and "
                f"{_owner(entry)} ({entry.value}); uninstall one of them"
            )
        entries[entry.name] = entry
    return entries


def _load(entry: metadata.EntryPoint) -> Any:
    """Load one entry. Whatever goes wrong inside a plugin becomes a PluginError that names its package."""
    return _guarded(entry, entry.load)


def _made(entry: metadata.EntryPoint) -> Any:
    """Load one entry and call it: make the adapter or benchmark, read the culture records."""
    return _guarded(entry, _load(entry))


def _guarded(entry: metadata.EntryPoint, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except PluginError:
        raise
    except Exception as error:
        problem = (
            f"{entry.name!r} of {entry.group}, from package {_owner(entry)} ({entry.value}), cannot be "
            f"loaded: {type(error).__name__}: {error}"
        )
        _problems[f"{entry.group}:{entry.name}"] = problem
        raise PluginError(problem) from error


def _made_all(group: str) -> dict[str, Any]:
    """The results of calling all entries of a group; failures are kept for `problems()`."""
    return _all(group, _made)


def _load_all(group: str) -> dict[str, Any]:
    """All entries of a group that can be loaded; failures are kept for `problems()`."""
    return _all(group, _load)


def _all(group: str, get: Callable[[metadata.EntryPoint], Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = {}
    for name, entry in _entries(group).items():
        with contextlib.suppress(PluginError):
            loaded[name] = get(entry)
    return loaded


def problems() -> list[str]:
    """Plugins that could not be loaded so far, one sentence each."""
    return list(_problems.values())


def adapters() -> list[ModelAdapter]:
    """All model adapters that can be loaded, by name."""
    return list(_made_all(MODELS).values())


def gallery() -> dict[str, Path]:
    """Declarations of published sets that come with the program, by name."""
    package = Path(__file__).resolve().parent
    for folder in (package / "data" / "gallery", package.parent / "data" / "gallery"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def benchmark_names() -> list[str]:
    """Names of all registered benchmarks; nothing is loaded."""
    return sorted(_entries(BENCHMARKS))


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name; UnknownNameError offers near names.

    A path that ends in .yaml, .yml or .toml is a file that declares one; `PATH#control` is its control.
    """
    path = name.removesuffix(CONTROL_OF_DECLARATION)
    if PureWindowsPath(path).suffix.lower() in DECLARATION_SUFFIXES:
        declared: Benchmark = _load(_entries(BENCHMARK_FILES)["declaration"])(
            Path(path), control=path != name
        )
        return declared
    entries = _entries(BENCHMARKS)
    if name not in entries:
        published = gallery()
        own = name if name in published else name.removesuffix("-control")
        if own not in published:
            raise UnknownNameError(
                "benchmark", name, [*entries, *published], f"see {command('list benchmarks')}"
            )
        return benchmark(f"{published[own]}{'' if own == name else CONTROL_OF_DECLARATION}")
    made: Benchmark = _made(entries[name])
    return made


def benchmarks() -> list[Benchmark]:
    """All benchmarks that can be loaded, by name."""
    return list(_made_all(BENCHMARKS).values())


_added_cultures: dict[str, tuple[Sequence[Culture], Mapping[str, str]]] = {}
"""Records by their source, and the hashes of its files."""


def add_cultures(source: str, records: Sequence[Culture], files: Mapping[str, str]) -> None:
    """Know these culture records from now on; PluginError, and nothing added, if one has a key of another.

    `files` are the hashes of the files that hold them.
    """
    before = _added_cultures.get(source)
    _added_cultures[source] = records, files
    cultures.cache_clear()
    try:
        cultures()
    except PluginError:
        del _added_cultures[source]
        if before is not None:
            _added_cultures[source] = before
        raise


def culture_files(keys: Collection[str]) -> dict[str, str]:
    """Hashes of the files of added records, of every folder that has one of these cultures."""
    return {
        name: digest
        for records, files in _added_cultures.values()
        if any(record.key in keys for record in records)
        for name, digest in files.items()
    }


@cache
def cultures() -> dict[str, Culture]:
    """All culture records by key; PluginError if two sources claim one key.

    A record made from public lists gives way to another with its key or code.
    """
    records: dict[str, Culture] = {}
    sources: dict[str, str] = {}
    by_source: dict[str, Sequence[Culture]] = _made_all(CULTURES)
    by_source |= {source: added for source, (added, _) in _added_cultures.items()}
    entered = [record for own in by_source.values() for record in own if not record.is_fallback]
    taken = {record.key for record in entered} | {record.iso for record in entered}
    for source, own in by_source.items():
        for record in own:
            if record.is_fallback and (record.key in taken or record.iso in taken):
                continue
            if record.key in records:
                raise PluginError(
                    f"culture {record.key!r} is recorded by {sources[record.key]!r} and {source!r}; "
                    "rename or remove one of the records"
                )
            records[record.key], sources[record.key] = record, source
    return records


def lemmatizers() -> dict[str, type[Lemmatizer]]:
    """All lemmatizers that can be loaded, by name; the packages they need may still be missing."""
    return _load_all(LEMMATIZERS)


def scorer_names() -> list[str]:
    """Names of all registered scorers; nothing is loaded."""
    return sorted(_entries(SCORERS))


def scorer(name: str) -> Scorer:
    """A scorer by name; UnknownNameError lists what exists."""
    entries = _entries(SCORERS)
    if name not in entries:
        raise UnknownNameError("scorer", name, entries, f"see {command('list scorers')}")
    scorer: Scorer = _made(entries[name])
    return scorer


def scorers() -> list[Scorer]:
    """All scorers that can be loaded, by name."""
    return list(_made_all(SCORERS).values())


def aggregator(name: str, built_in: Sequence[str] = ()) -> Any:
    """A plugin's aggregator; UnknownNameError lists them beside those that are `built_in`."""
    entries = _entries(AGGREGATORS)
    if name not in entries:
        raise UnknownNameError("aggregator", name, [*built_in, *entries], "others come through a plugin")
    return _load(entries[name])


def entries() -> list[dict[str, str]]:
    """Every registered entry: its group, name, object and owner, and whether it loads."""
    rows = []
    for group in (MODELS, BENCHMARKS, CULTURES, SCORERS, LEMMATIZERS, AGGREGATORS):
        loaded = _load_all(group)
        for name, entry in _entries(group).items():
            rows.append(
                {
                    "group": group,
                    "name": name,
                    "object": entry.value,
                    "package": _owner(entry),
                    "state": "ok" if name in loaded else "cannot be loaded",
                }
            )
    return rows
