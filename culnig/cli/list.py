"""`culnig-engine list`: what is registered."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from culnig import registry
from culnig.cli.options import data_dir_option, json_option
from culnig.cli.output import print_json, print_line, print_table
from culnig.core.items import Item
from culnig.errors import EnvironmentProblem, UnknownNameError
from culnig.models.embedded import INSTALL_COMMAND, embedded_model_file
from culnig.scorers.base import GRADIENT_ACTIVATION

SHOWN_PROMPTS = 3
REFUSED = ("mixtures of experts", "encoders", "encoder–decoders")


@click.group("list")
def command() -> None:
    """What is registered: models, benchmarks, cultures, scorers, plugins that failed."""


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
        document = {"adapters": rows, "refused": list(REFUSED), "embedded": embedded}
        print_json({**document, "problems": registry.problems()})
        return
    print_table("Model adapters", ("adapter", "binds"), [(row["adapter"], row["binds"]) for row in rows])
    print_line(f"--model embedded is SmolLM2-135M-Instruct: {embedded}")
    print_line("--model also takes a hub name, a model folder or a .gguf file")
    print_line(f"Refused: {', '.join(REFUSED)}; docs/models.md says why and how to add a family")
    _print_problems()


@command.command("benchmarks")
@click.option("--check", "checked", help="Read this benchmark (a name or a file) and show its items.")
@data_dir_option()
@json_option()
def benchmarks(checked: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Benchmarks with their role and where their items come from; --check reads one and shows it."""
    if checked is not None:
        _check(checked, data_dir, as_json)
        return
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


def _check(asked: str, data_dir: Path | None, as_json: bool) -> None:
    """Read all items, show the first prompts and the counts per culture."""
    benchmark = registry.benchmark(asked)
    counts: Counter[tuple[str, str]] = Counter()
    shown: list[Item] = []
    for item in benchmark.read(data_dir):
        counts[item.culture, item.split] += 1
        if len(shown) < SHOWN_PROMPTS:
            shown.append(item)
    cultures: list[dict[str, str | int]] = [
        {"culture": culture, "identify": counts[culture, "identify"], "test": counts[culture, "test"]}
        for culture in dict.fromkeys(culture for culture, _ in counts)
    ]
    if as_json:
        prompts = [asdict(item) for item in shown]
        print_json(
            {"benchmark": benchmark.name, "role": benchmark.role, "cultures": cultures, "items": prompts}
        )
        return
    for item in shown:
        print_line(f"── {item.id} · {item.culture} · {item.split} · gold {item.answer}")
        print_line(f"{item.system}\n\n{item.prompt}" if item.system else item.prompt)
        print_line()
    print_table(
        f"{benchmark.name} ({benchmark.role}): {sum(counts.values()):,} items",
        ("culture", "identify", "test"),
        [tuple(row.values()) for row in cultures],
    )


@command.command("scorers")
@json_option()
def scorers(as_json: bool) -> None:
    """Ways to score neurons, all from one forward and backward pass."""
    own = {
        "scorer": GRADIENT_ACTIVATION,
        "weight": "gold",
        "more passes for": "",
        "summary": "gradient × activation; always there",
    }
    others: list[dict[str, Any]] = [
        {
            "scorer": scorer.name,
            "weight": scorer.weight,
            "more passes for": " ".join(scorer.targets),
            "summary": scorer.summary,
        }
        for scorer in registry.scorers()
    ]
    _print_rows("Scorers", [own, *others], as_json)


@command.command("cultures")
@click.option("--region", help="Only this region or zone, or a part of its name.")
@click.option("--language", help="Only where this language (BCP-47, such as es) is spoken.")
@click.option("--benchmark", help="Only cultures that this benchmark has a name for.")
@json_option()
def cultures(region: str | None, language: str | None, benchmark: str | None, as_json: bool) -> None:
    """Culture records."""
    records = registry.cultures().values()
    if benchmark is not None:
        named = {name for record in records for name in record.names}
        if benchmark not in named:
            raise UnknownNameError("benchmark with names of cultures", benchmark, named)
    rows = [
        {
            "culture": record.key,
            "iso": record.iso,
            "region": record.region,
            "zone": record.zone,
            "languages": ", ".join(record.languages),
            "benchmarks": ", ".join(record.names),
            "related": ", ".join(record.related),
        }
        for record in records
        if (region is None or region.casefold() in f"{record.region}\n{record.zone}".casefold())
        and (language is None or any(_speaks(spoken, language) for spoken in record.languages))
        and (benchmark is None or benchmark in record.names)
    ]
    _print_rows("Cultures", rows, as_json)


def _speaks(spoken: str, language: str) -> bool:
    return f"{spoken}-".casefold().startswith(f"{language}-".casefold())


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
