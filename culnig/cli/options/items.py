"""--benchmark and the options that choose its items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from culnig.benchmarks.choosing import DATA_VARIABLE
from culnig.cli.options.base import PATH, Command, together
from culnig.core.items import SplitChoice
from culnig.cultures.spellings import use_cultures
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, LARGEST_USEFUL_BUDGET


def data_dir_option() -> Callable[[Command], Command]:
    """--data-dir and --cultures."""
    return together(
        click.option(
            "--data-dir",
            type=PATH,
            envvar=DATA_VARIABLE,
            help=f"Folder with benchmark files; by default {DATA_VARIABLE} names it.",
        ),
        culture_records_option(),
    )


def culture_records_option() -> Callable[[Command], Command]:
    """--cultures."""

    def use(context: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
        if folder is not None:
            use_cultures(folder)

    return click.option(
        "--cultures",
        "culture_records",
        type=PATH,
        expose_value=False,
        is_eager=True,
        callback=use,
        help="Folder with culture records of your own (*.toml), known beside the others.",
    )


def item_options(
    default_split: SplitChoice,
    *,
    required: bool = True,
    seeded: bool = False,
    budget_from_memory: bool = False,
) -> Callable[[Command], Command]:
    """--benchmark and which of its items, each an argument of the command.

    `seeded` adds --seed for commands that have none of their own. `budget_from_memory` says that the command
    finds its own token budget where none is given.
    """
    seed = click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --sample."
    )
    budget_help = "Maximum tokens per batch, padding included."
    if budget_from_memory:
        budget_help += (
            f"  [default: what fits into the free memory of a GPU, {LARGEST_USEFUL_BUDGET} at most; "
            f"{DEFAULT_TOKEN_BUDGET} on a CPU and with --shard; that of the run with --resume]"
        )
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
            help="identify: items to find neurons with; test: items to judge them with.",
        ),
        click.option(
            "--culture", "cultures", multiple=True, help="Only this culture; may be given several times."
        ),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help="Use only the first N items of each benchmark in the split.",
        ),
        click.option(
            "--per-culture",
            type=click.IntRange(min=1),
            help="Use only the first N items of each culture in the split, in file order.",
        ),
        click.option(
            "--sample",
            type=click.IntRange(min=1),
            help="Draw N questions of each benchmark in the split, evenly over its topics, with all their "
            "items; a target and its control get the same ones.",
        ),
        *([seed] if seeded else []),
        click.option(
            "--token-budget",
            type=click.IntRange(min=1),
            default=None if budget_from_memory else DEFAULT_TOKEN_BUDGET,
            show_default=not budget_from_memory,
            help=budget_help,
        ),
    )


def skip_too_long_option() -> Callable[[Command], Command]:
    """--skip-too-long."""
    return click.option(
        "--skip-too-long",
        is_flag=True,
        help="Skip items that are longer than the model allows, and report how many.",
    )


def prompt_date_option() -> Callable[[Command], Command]:
    """--prompt-date."""
    return click.option(
        "--prompt-date",
        metavar="YYYY-MM-DD",
        help="Date in the prompts of chat templates that write today's date; give an earlier day to continue "
        "its work.  [default: today]",
    )


def check_option() -> Callable[[Command], Command]:
    """--no-check."""
    return click.option(
        "--no-check",
        "check",
        flag_value=False,
        default=True,
        help="Leave out the quick checks of `verify` that come first; the output records it.",
    )


def prefix_sharing_option() -> Callable[[Command], Command]:
    """--no-prefix-sharing."""
    return click.option(
        "--no-prefix-sharing",
        "prefix_sharing",
        flag_value=False,
        default=True,
        help="Compute every prompt in full, even where prompts begin alike.",
    )


def ignored_prefix_sharing_option() -> Callable[[Command], Command]:
    """--no-prefix-sharing for commands that never share prefixes; scripts of the first edition give it."""
    return click.option(
        "--no-prefix-sharing",
        is_flag=True,
        hidden=True,
        expose_value=False,
        help="No effect: scoring computes every prompt whole.",
    )
