"""The items of benchmarks that take part in a run, an evaluation or a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.data_files import content_hash
from culnig.core.items import SplitChoice, choose_items
from culnig.errors import DataFileError, InputError, argument


def read_benchmarks(
    names: Sequence[str],
    data_dir: Path | str | None = None,
    split: SplitChoice = "all",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
) -> dict[str, ChosenItems]:
    """The chosen items by benchmark; InputError where a benchmark has none.

    `names` are names of benchmarks or files that declare one. `limit` and `per_culture` count in file order
    within the split.
    """
    registry.check_cultures(list(cultures))
    data_dir = None if data_dir is None else Path(data_dir)
    if data_dir is not None and not data_dir.is_dir():
        raise DataFileError(data_dir, f"no such folder (from {argument('data_dir')} or CULNIG_DATA)")
    chosen: dict[str, ChosenItems] = {}
    for asked in dict.fromkeys(names):
        benchmark = registry.benchmark(asked)
        name = benchmark.name
        if name in chosen:
            raise InputError(f"two benchmarks are named {name!r}; change `name` in {asked}")
        items = choose_items(
            benchmark.read(data_dir),
            split=split,
            cultures=cultures or None,
            limit=limit,
            per_culture=per_culture,
        )
        if not items:
            of = f" of {', '.join(cultures)}" if cultures else ""
            raise InputError(f"benchmark {name!r} has no items{of} in split {split!r}")
        files = {f"{path.parent.name}/{path.name}": content_hash(path) for path in benchmark.files(data_dir)}
        chosen[name] = ChosenItems(benchmark.role, split, items, files)
    return chosen
