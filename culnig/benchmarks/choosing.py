"""Choose the items of a run or an evaluation: which benchmarks, which split, which cultures, how many."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from culnig import registry
from culnig.benchmarks.base import Benchmark, ChosenItems
from culnig.benchmarks.sampling import Asked, Sample, drawn_questions, say_missing
from culnig.core.items import NO_CULTURE, Item, Role, SplitChoice, choose_items, items_of
from culnig.core.progress import Say, say_nothing
from culnig.core.text import counted, is_group_name
from culnig.cultures.spellings import culture_keys
from culnig.errors import DataFileError, InputError, argument, check_at_least, check_choice
from culnig.provenance import file_hashes

DATA_VARIABLE = "CULNIG_DATA"
"""Environment variable that names the folder with benchmark files."""

MOST_HELD = 50_000
"""Most items of a benchmark in memory while questions are drawn; a longer one is read once more."""

BenchmarkChoice = str | Path | Benchmark | Sequence[str | Path | Benchmark] | Mapping[str, ChosenItems]
"""A registered name, a file that declares a benchmark, a benchmark, several of these, or items by name."""


def read_benchmarks(
    benchmarks: BenchmarkChoice,
    data_dir: Path | str | None = None,
    split: SplitChoice = "all",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    say: Say = say_nothing,
) -> dict[str, ChosenItems]:
    """The chosen items of each benchmark by its name; a mapping of items is returned as it is.

    `per_culture` takes the first items of each culture, `limit` the first of all, and `sample` draws that
    many questions with all their items (`culnig.benchmarks.sampling`), with the seed `seed`.

    Without `data_dir`, the environment variable CULNIG_DATA names the folder. UnknownNameError for a
    benchmark or culture, DataFileError for missing or malformed data, InputError if no item is left or there
    are fewer questions than `sample`.
    """
    counts = {"limit": limit, "per_culture": per_culture, "sample": sample}
    _check_counts(counts)
    if isinstance(benchmarks, Mapping):
        _check_unchosen({"cultures": cultures or None, **counts})
        for name in benchmarks:
            _check_name(name)
        return dict(benchmarks)
    check_choice("split", split, get_args(SplitChoice))
    cultures = culture_keys(cultures)
    folder = _data_folder(data_dir)
    named = _named(benchmarks)
    drawn: dict[str, set[str]] = {}
    asked: dict[str, tuple[Role, Asked]] = {}
    held: dict[str, _Few] = {}
    if sample is not None:
        for name, own in named.items():
            held[name] = few = _Few()
            asked[name] = own.role, Asked(few.passing(items_of(own.read(folder), split, cultures or None)))
        drawing = Sample(sample, seed)
        drawn = drawn_questions({name: own for name, own in asked.items() if own[1].questions}, drawing)
    chosen: dict[str, ChosenItems] = {}
    for name, benchmark in named.items():
        read: Iterable[Item] = held[name].items if name in held else ()
        read = read or benchmark.read(folder)
        items = choose_items(
            read if sample is None else (item for item in read if item.question in drawn.get(name, ())),
            split=split,
            cultures=cultures or None,
            limit=limit,
            per_culture=per_culture,
        )
        if not items:
            of_cultures = f" of {', '.join(cultures)}" if cultures else ""
            raise InputError(f"benchmark {name!r} has no items{of_cultures} in split {split!r}")
        if per_culture is not None:
            _say_per_culture(name, items, say)
        if sample is not None:
            say_missing(name, asked[name][1], items, say)
        files = {
            **file_hashes(benchmark.files(folder)),
            **benchmark.commits(),
            **registry.culture_files({item.culture for item in items}),
        }
        how_drawn = None if sample is None else drawing.record()
        chosen[name] = ChosenItems(benchmark.role, split, items, files, benchmark.licence, how_drawn)
    return chosen


class _Few:
    """Holds the items of a benchmark that pass, as long as they are few."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        """All of them; none if they were many."""

    def passing(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, unchanged."""
        for number, item in enumerate(items):
            if number < MOST_HELD:
                self.items.append(item)
            else:
                self.items.clear()
            yield item


def _named(benchmarks: str | Path | Benchmark | Sequence[str | Path | Benchmark]) -> dict[str, Benchmark]:
    """Each benchmark by its name; InputError for two of one name."""
    named: dict[str, Benchmark] = {}
    for asked in (
        [benchmarks] if isinstance(benchmarks, str | Path | Benchmark) else dict.fromkeys(benchmarks)
    ):
        benchmark = asked if isinstance(asked, Benchmark) else registry.benchmark(str(asked))
        _check_name(benchmark.name)
        if benchmark.name in named:
            raise InputError(f"two benchmarks are named {benchmark.name!r}; change `name` in {asked}")
        named[benchmark.name] = benchmark
    return named


def _check_unchosen(choice: Mapping[str, object]) -> None:
    """InputError for a choice among items that are chosen already."""
    for name, value in choice.items():
        if value is not None:
            raise InputError(f"the items are chosen already; leave out {argument(name)}")


def _check_counts(counts: Mapping[str, int | None]) -> None:
    """InputError for numbers that cannot be or do not go together."""
    for name, value in counts.items():
        check_at_least(name, value, 1)
    given = [name for name, value in counts.items() if value is not None]
    if len(given) > 1 and "sample" in given:
        raise InputError(
            f"{argument('sample')} draws whole questions, {argument(given[0])} takes the first items; give "
            "only one of them"
        )


def _say_per_culture(name: str, items: Sequence[Item], say: Say) -> None:
    """Say what the first items of each culture are where they are not as many questions."""
    of_culture = Counter(item.culture for item in items)
    most, n_questions = max(of_culture.values()), len({item.question for item in items})
    if list(of_culture) == [NO_CULTURE]:
        say(
            f"{name}: its items are about no culture; these are its first {most:,} items, on "
            f"{counted(n_questions, 'question')}"
        )
    elif n_questions < most:
        say(
            f"{name}: the first {most:,} items of each culture are on only "
            f"{counted(n_questions, 'question')}; a sample draws whole questions"
        )


def _check_name(name: str) -> None:
    if not is_group_name(name):
        raise InputError(f"benchmark {name!r} cannot be stored under its name; give it one without / and NUL")


def require_items(chosen: Mapping[str, ChosenItems]) -> None:
    """InputError if no benchmark is given."""
    if not chosen:
        raise InputError(f"no benchmark is given; give {argument('benchmarks')}")


def _data_folder(data_dir: Path | str | None) -> Path | None:
    named = data_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise DataFileError(folder, f"no such folder (from {argument('data_dir')} or {DATA_VARIABLE})")
    return folder


def without_too_long(
    chosen: Mapping[str, ChosenItems],
    fitting: Callable[[Sequence[Item]], Sequence[Item]],
    max_tokens: int | None,
    say: Say = say_nothing,
) -> tuple[dict[str, ChosenItems], dict[str, int]]:
    """The items that fit the model, and how many of each benchmark do not.

    `fitting` keeps the items that fit (`Encoder.fitting`), `max_tokens` is the model's limit. InputError
    where a benchmark has no item that fits.
    """
    kept = {name: replace(own, items=fitting(own.items)) for name, own in chosen.items()}
    skipped = {name: len(chosen[name].items) - len(own.items) for name, own in kept.items()}
    for name, own in kept.items():
        if not own.items:
            raise InputError(
                f"all {skipped[name]} items of benchmark {name!r} are longer than the {max_tokens} tokens of "
                "this model; use a model with a longer context"
            )
    skipped = {name: n_items for name, n_items in skipped.items() if n_items}
    for name, n_items in skipped.items():
        say(f"{name}: skipped {n_items} items that are longer than the model allows")
    return kept, skipped
