"""`culnig-engine list`: what is registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culnig import registry
from culnig.cli.options import culture_records_option, data_dir_option, json_option
from culnig.cli.output import print_json, print_line, print_table, print_warning
from culnig.reporting.registered import (
    check_benchmark,
    list_benchmarks,
    list_cultures,
    list_gallery,
    list_models,
    list_plugins,
    list_scorers,
)


@click.group("list")
def command() -> None:
    """What is registered: models, benchmarks, cultures, scorers, plugins and their problems."""


@command.command("models")
@json_option()
def models(as_json: bool) -> None:
    """Model adapters, and whether the embedded model is installed."""
    document = list_models()
    if as_json:
        print_json({**document, "problems": registry.problems()})
        return
    rows = [tuple(row.values()) for row in document["adapters"]]
    print_table("Model adapters", ("adapter", "binds"), rows)
    print_line(f"--model embedded is SmolLM2-135M-Instruct: {document['embedded']}")
    print_line("--model also takes a hub name, a model folder or a .gguf file")
    print_line(f"Refused: {', '.join(document['refused'])}; docs/models.md says why and how to add a family")
    _print_problems()


@command.command("benchmarks")
@click.option("--check", help="Read this benchmark (a name or a file) and show its items.")
@data_dir_option()
@json_option()
def benchmarks(check: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Benchmarks with their role and where their items come from; --check reads one and shows it.

    --check shows a prompt of each of the first three cultures in each wording, questions and items by
    culture, the gold labels after shuffling, and the rows that are left out.
    """
    if check is None:
        rows, gallery = list_benchmarks(), list_gallery()
        if as_json:
            print_json({"benchmarks": rows, "gallery": gallery, "problems": registry.problems()})
            return
        _print_rows("Benchmarks", rows, as_json)
        shown = ("benchmark", "languages", "cultures", "licence", "training")
        table = [
            tuple(", ".join(row[name]) if name == "languages" else row[name] for name in shown)
            for row in gallery
        ]
        print_table("Published sets, declared in files (the hub or --data-dir)", shown, table)
        return
    document = check_benchmark(check, data_dir)
    if as_json:
        print_json(document)
        return
    for item in document["items"]:
        print_line(f"── {item['id']} · {item['culture']} · {item['split']} · gold {item['answer']}")
        print_line(f"{item['system']}\n\n{item['prompt']}" if item["system"] else item["prompt"])
        for text in item["options"] if item["likelihood"] else ():
            print_line(f"  followed by: {item['answer_prefix']}{text}")
        print_line()
    cultures, questions = document["cultures"], document["questions_of_split"]
    print_table(
        f"{document['benchmark']} ({document['role']}): {document['n']:,} items; independent questions: "
        f"{questions['identify']:,} to identify, {questions['test']:,} to test",
        ("culture", "identify", "test"),
        [tuple(row.values()) for row in cultures],
    )
    if document["gold"]:
        labels = ", ".join(f"{label} {n:,}" for label, n in document["gold"].items())
        texts = any(item["likelihood"] for item in document["items"])
        print_line(f"{'Gold options by their number' if texts else 'Gold labels after shuffling'}: {labels}")
    for reason, n in document["dropped"].items():
        print_line(f"Left out: {n:,} rows, {reason}")


@command.command("scorers")
@json_option()
def scorers(as_json: bool) -> None:
    """Ways to score neurons, all from one forward and backward pass."""
    _print_rows("Scorers", list_scorers(), as_json)


@command.command("cultures")
@click.option("--region", help="Only this region or zone, or a part of its name.")
@click.option("--language", help="Only cultures where this language (BCP-47, such as es) is spoken.")
@click.option("--benchmark", help="Only cultures that this benchmark has a name for.")
@culture_records_option()
@json_option()
def cultures(as_json: bool, **choice: str | None) -> None:
    """Culture records."""
    optional = ("related", "zone", "languages", "benchmarks")
    _print_rows("Cultures", list_cultures(**choice), as_json, optional)


@command.command("plugins")
@json_option()
def plugins(as_json: bool) -> None:
    """Every registered entry with the package that owns it, and whether it can be loaded."""
    _print_rows("Registered", list_plugins(), as_json)


def _print_rows(title: str, rows: list[dict[str, Any]], as_json: bool, optional: Sequence[str] = ()) -> None:
    if as_json:
        print_json({title.lower(): rows, "problems": registry.problems()})
        return
    headings = tuple(rows[0]) if rows else ("none",)
    print_table(title, headings, [tuple(row.values()) for row in rows], optional=optional)
    _print_problems()


def _print_problems() -> None:
    for problem in registry.problems():
        print_warning(problem)
