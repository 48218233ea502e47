"""`culnig-engine benchmarks`: declarations of benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, culture_records_option, out_options
from culnig.cli.output import print_json, print_line

_SEVERAL = "options"


@click.group("benchmarks")
def command() -> None:
    """Declare benchmarks; `list benchmarks` shows them."""


@command.command("new")
@click.option("--from", "source", type=PATH, required=True, help="Data file: .csv, .tsv, .jsonl or .parquet.")
@click.option("--name", help="Name of the benchmark.  [default: that of the file]")
@click.option("--question", help="Column with the question.")
@click.option("--options", multiple=True, help="Column with the options, or one of them; several times.")
@click.option("--answer", help="Column with the right answer.")
@click.option(
    "--answer-is", type=click.Choice(["letter", "number", "text"]), help="Content of the answer column."
)
@click.option("--answer-starts-at", type=click.IntRange(0, 1), help="Number of the first option.")
@click.option("--culture", help="Column with the culture, or the culture of all rows.")
@culture_records_option()
@out_options("Declaration to write (YAML).", tables=False)
def new(source: Path, out: Path, as_json: bool, **choice: Any) -> None:
    """Write a first declaration of a data file.

    Columns are recognized by their names and cells; what cannot be seen is asked for.
    """
    from culnig.reporting.drafted import benchmarks_new

    asks = sys.stdin.isatty() and not as_json
    text = benchmarks_new(source, out, ask=_ask if asks else None, **choice)
    if as_json:
        print_json({"declaration": str(out), "text": text})
        return
    print_line(text)
    print_line(f"Written to {out}. Look at it with: culnig-engine list benchmarks --check {out}")


def _ask(name: str, why: str, columns: Sequence[str]) -> Any:
    """Ask for one thing on the terminal."""
    if name in ("answer_is", "answer_starts_at"):
        choice = ["letter", "number", "text"] if name == "answer_is" else ["0", "1"]
        said = click.prompt(f"{name} ({why})", type=click.Choice(choice), err=True)
        return int(said) if name == "answer_starts_at" else said
    shown = ", ".join(columns)
    if name == _SEVERAL:
        said = click.prompt(f"Columns of the options, with commas between ({why}; {shown})", err=True)
        return [column.strip() for column in said.split(",")]
    return click.prompt(
        f"Column of the {name} ({why})", type=click.Choice(list(columns)), show_choices=True, err=True
    )
