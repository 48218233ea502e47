"""`culnig-engine inspect`: what is in a run, a neuron set or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluate import print_results
from culnig.cli.options import PATH, json_option
from culnig.cli.output import print_json, print_line, print_table, size_text
from culnig.cli.score import print_benchmarks
from culnig.cli.selected import print_counts
from culnig.reporting.inspect import inspect
from culnig.selection.neuron_set import read_neuron_set

EXIT_DAMAGED = 1
_SHOWN = 10


@click.command("inspect")
@click.argument("path", type=PATH)
@click.option("--verify", is_flag=True, help="Read every file of a run and compare all checksums.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Show the best N neurons of a run with the items and tokens that raised them.",
)
@click.option("--benchmark", help="With --top: the target benchmark, if the run has several.")
@json_option()
def command(path: Path, verify: bool, top: int | None, benchmark: str | None, as_json: bool) -> int:
    """Show what is in a run folder, a neuron-set file or an evaluation folder.

    With --verify, exit code 1 means that something is damaged.
    """
    document = inspect(path, verify=verify, top=top, benchmark=benchmark)
    if as_json:
        print_json(document)
    elif verify:
        rows = [
            (state["file"], size_text(state["n_bytes"]), state["problem"] or "ok")
            for state in document["files"]
        ]
        print_table(f"Files of {path}", ("file", "size", "state"), rows)
    elif top:
        _print_top(document)
    elif document["kind"] == "neurons":
        _print_neurons(path)
    elif document["kind"] == "run":
        _print_run(path, document)
    else:
        _print_record(f"Evaluation {path}", document)
        print_results(document)
    return EXIT_DAMAGED if verify and not document["verified"] else 0


def _print_top(document: dict[str, Any]) -> None:
    print_table(
        f"Best neurons by {document['ranked_by']}, over all cultures",
        ("module", "layer", "index", "score", "raised by (culture, item, token)"),
        [
            (
                row["module"],
                row["layer"],
                row["index"],
                f"{row['score']:.2e}",
                "; ".join(f"{item['culture']} {item['id']} {item['text']!r}" for item in row["items"]),
            )
            for row in document["neurons"]
        ],
    )
    if not any(row["items"] for row in document["neurons"]):
        print_line("Items are kept at --level item or token")


def _print_run(path: Path, document: dict[str, Any]) -> None:
    _print_record(f"Run {path}", document["record"])
    files, rows = document["files"], document["benchmarks"]
    print_line(f"{len(files)} files, {size_text(sum(files.values()))}")
    if not document["complete"]:
        is_shard = document["record"].get("shard")
        next_step = "merge it with the other shards" if is_shard else "run the same `score` with --resume"
        print_line(f"Not finished; {next_step}")
        return
    print_benchmarks("Benchmarks", rows)
    for warning in document["warnings"]:
        print_line(f"Warning: {warning['text']} {warning['advice']}")


def _print_neurons(path: Path) -> None:
    chosen = read_neuron_set(path)
    print_counts(chosen)
    print_table(
        "Best neurons",
        ("rank", "module", "layer", "index", "score"),
        [
            (rank, *neuron, f"{score:.2e}")
            for rank, (neuron, score) in enumerate(
                zip(chosen.neurons[:_SHOWN], chosen.scores, strict=False), start=1
            )
        ],
    )


def _print_record(title: str, record: dict[str, Any]) -> None:
    settings = {**record["model"], **record["settings"]}
    made_by = ", ".join(f"{package} {version}" for package, version in record.get("versions", {}).items())
    rows = [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    print_table(title, ("what", "value"), [*rows, ("made by", made_by)])
