"""Options that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.core.items import SplitChoice, choose_items
from culnig.errors import DataFileError, InputError
from culnig.provenance import file_hash

if TYPE_CHECKING:
    from culnig.models.base import BoundModel

Command = TypeVar("Command", bound=Callable[..., Any])


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def data_dir_option() -> Callable[[Command], Command]:
    """--data-dir."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        envvar="CULNIG_DATA",
        help="Folder with benchmark files; CULNIG_DATA says the same.",
    )


def item_options(default_split: SplitChoice, *, required: bool = True) -> Callable[[Command], Command]:
    """--benchmark and which of its items."""
    return together(
        click.option(
            "--benchmark",
            "benchmarks",
            multiple=True,
            required=required,
            help="Name of a benchmark, or a file that declares one (.yaml, .toml); may be given several "
            "times. See `list benchmarks`.",
        ),
        data_dir_option(),
        click.option(
            "--split",
            type=click.Choice(["identify", "test", "all"]),
            default=default_split,
            show_default=True,
            help="identify finds neurons, test judges them.",
        ),
        click.option("--culture", "cultures", multiple=True, help="Only these cultures."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help="First N items of each benchmark within the split.",
        ),
        click.option(
            "--per-culture",
            type=click.IntRange(min=1),
            help="First N items of each culture, in file order within the split.",
        ),
        click.option(
            "--token-budget",
            type=click.IntRange(min=1),
            default=2048,
            show_default=True,
            help="Most tokens in one batch, padding included.",
        ),
    )


def skip_too_long_option() -> Callable[[Command], Command]:
    """--skip-too-long."""
    return click.option(
        "--skip-too-long",
        is_flag=True,
        help="Leave out items that are longer than the model allows, and say how many.",
    )


def without_too_long(
    bound: BoundModel, chosen: dict[str, ChosenItems]
) -> tuple[dict[str, ChosenItems], dict[str, int]]:
    """The items that fit the model, and how many of each benchmark do not."""
    from culnig.inference.encoding import Encoder

    encoder = Encoder(bound)
    kept = {name: replace(those, items=encoder.fitting(those.items)) for name, those in chosen.items()}
    skipped = {name: len(chosen[name].items) - len(those.items) for name, those in kept.items()}
    for name, those in kept.items():
        if not those.items:
            raise InputError(
                f"all {skipped[name]} items of benchmark {name!r} are longer than the {bound.max_tokens} "
                "tokens of this model; use one with a longer context"
            )
    return kept, {name: n_items for name, n_items in skipped.items() if n_items}


def json_option() -> Callable[[Command], Command]:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def overwrite_option() -> Callable[[Command], Command]:
    """--overwrite."""
    return click.option("--overwrite", is_flag=True, help="Replace an earlier output of this kind.")


def read_benchmarks(
    names: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
) -> dict[str, ChosenItems]:
    """The items that the options choose; InputError where a benchmark has none."""
    registry.check_cultures(list(cultures))
    if data_dir is not None and not data_dir.is_dir():
        raise DataFileError(data_dir, "no such folder (from --data-dir or CULNIG_DATA)")
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
        chosen[name] = ChosenItems(benchmark.role, split, items, _hashes(benchmark.files(data_dir)))
    return chosen


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {f"{path.parent.name}/{path.name}": file_hash(path) for path in files}
