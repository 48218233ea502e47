"""Choose the items of a run or an evaluation: which benchmarks, which split, which cultures, how many."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from culnig import registry
from culnig.benchmarks.base import Benchmark, ChosenItems
from culnig.core.items import Item, SplitChoice, choose_items
from culnig.core.progress import Say, say_nothing
from culnig.core.text import is_group_name
from culnig.errors import DataFileError, InputError, argument, check_at_least, check_choice
from culnig.provenance import file_hash

DATA_VARIABLE = "CULNIG_DATA"
"""Environment variable that names the folder with benchmark files."""

BenchmarkChoice = str | Path | Benchmark | Sequence[str | Path | Benchmark] | Mapping[str, ChosenItems]
"""A registered name, a file that declares a benchmark, a benchmark, several of these, or items by name."""


def read_benchmarks(
    benchmarks: BenchmarkChoice,
    data_dir: Path | str | None = None,
    split: SplitChoice = "all",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
) -> dict[str, ChosenItems]:
    """The chosen items of each benchmark by its name; a mapping of items is returned as it is.

    Without `data_dir`, the environment variable CULNIG_DATA names the folder. UnknownNameError for a
    benchmark or culture, DataFileError for missing or malformed data, InputError if no item is left.
    """
    if isinstance(benchmarks, Mapping):
        for name in benchmarks:
            _check_name(name)
        return dict(benchmarks)
    check_choice("split", split, get_args(SplitChoice))
    check_at_least("limit", limit, 1)
    check_at_least("per_culture", per_culture, 1)
    registry.check_cultures(list(cultures))
    folder = _data_folder(data_dir)
    chosen: dict[str, ChosenItems] = {}
    for asked in (
        [benchmarks] if isinstance(benchmarks, str | Path | Benchmark) else dict.fromkeys(benchmarks)
    ):
        benchmark = asked if isinstance(asked, Benchmark) else registry.benchmark(str(asked))
        name = benchmark.name
        _check_name(name)
        if name in chosen:
            raise InputError(f"two benchmarks are named {name!r}; change `name` in {asked}")
        items = choose_items(
            benchmark.read(folder),
            split=split,
            cultures=cultures or None,
            limit=limit,
            per_culture=per_culture,
        )
        if not items:
            of_cultures = f" of {', '.join(cultures)}" if cultures else ""
            raise InputError(f"benchmark {name!r} has no items{of_cultures} in split {split!r}")
        chosen[name] = ChosenItems(benchmark.role, split, items, _hashes(benchmark.files(folder)))
    return chosen


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


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {f"{path.parent.name}/{path.name}": file_hash(path) for path in files}


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
