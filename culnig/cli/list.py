"""`culnig-engine list`: what is registered."""

from __future__ import annotations

from typing import Any

import click

from culnig import registry
from culnig.cli.options import json_option
from culnig.cli.output import print_json, print_line, print_table
from culnig.errors import EnvironmentProblem
from culnig.models.embedded import INSTALL_COMMAND, embedded_model_file


@click.group("list")
def command() -> None:
    """What is registered: models, benchmarks, cultures, plugins that failed."""


@command.command("models")
@json_option()
def models(as_json: bool) -> None:
    """Model adapters, and whether the embedded model is installed."""
    try:
        embedded = f"installed ({embedded_model_file().name})"
    except EnvironmentProblem:
        embedded = f"not installed: {INSTALL_COMMAND}"
    rows = [{"adapter": adapter.name, "binds": adapter.summary} for adapter in registry.adapters()]
    if as_json:
        print_json({"adapters": rows, "embedded": embedded, "problems": registry.problems()})
        return
    print_table("Model adapters", ("adapter", "binds"), [(row["adapter"], row["binds"]) for row in rows])
    print_line(f"--model embedded is SmolLM2-135M-Instruct: {embedded}")
    print_line("--model also takes a hub name, a model folder or a .gguf file")
    _print_problems()


@command.command("benchmarks")
@json_option()
def benchmarks(as_json: bool) -> None:
    """Benchmarks with their role and where their items come from."""
    rows = [
        {
            "benchmark": benchmark.name,
            "role": benchmark.role,
            "data": "--data-dir or hub" if benchmark.needs_data_dir else "built in",
            "control": benchmark.control,
            "summary": benchmark.summary,
        }
        for benchmark in registry.benchmarks()
    ]
    _print_rows("Benchmarks", rows, as_json)


@command.command("cultures")
@json_option()
def cultures(as_json: bool) -> None:
    """Culture records."""
    rows = [
        {
            "culture": record.key,
            "iso": record.iso,
            "region": record.region,
            "zone": record.zone,
            "languages": ", ".join(record.languages),
            "related": ", ".join(record.related),
        }
        for record in registry.cultures().values()
    ]
    _print_rows("Cultures", rows, as_json)


@command.command("plugins")
@json_option()
def plugins(as_json: bool) -> None:
    """Every registered entry with the package that owns it, and what could not be loaded."""
    _print_rows("Registered", registry.entries(), as_json)


def _print_rows(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({title.lower(): rows, "problems": registry.problems()})
        return
    headings = tuple(rows[0]) if rows else ("none",)
    print_table(title, headings, [tuple(row.values()) for row in rows])
    _print_problems()


def _print_problems() -> None:
    for problem in registry.problems():
        click.echo(f"warning: {problem}", err=True)
