"""`culnig-engine inspect`: what is in a run, a neuron set or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluate import print_rows
from culnig.cli.options import json_option
from culnig.cli.output import print_json, print_line, print_table
from culnig.cli.score import summary_rows
from culnig.cli.select import print_counts
from culnig.errors import StoreError
from culnig.selection.neuron_set import read_neuron_set
from culnig.store import schema
from culnig.store.run import Run, read_run_record


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
@json_option()
def command(path: Path, as_json: bool) -> None:
    """Show what is in a run folder, a neuron-set file or an evaluation folder."""
    from culnig.evaluation.folder import RESULTS_FILE

    if not path.exists():
        raise StoreError(f"{path}: no such file or folder")
    if path.is_file():
        _inspect_neurons(path, as_json)
    elif (path / schema.RUN_FILE).exists():
        _inspect_run(path, as_json)
    elif (path / RESULTS_FILE).exists():
        _inspect_evaluation(path, as_json)
    else:
        raise StoreError(
            f"{path}: neither a run (no {schema.RUN_FILE}) nor an evaluation (no {RESULTS_FILE})"
        )


def _inspect_run(path: Path, as_json: bool) -> None:
    record = read_run_record(path)
    finished = (path / schema.SCORES_FILE).exists()
    rows = summary_rows(Run(path)) if finished else []
    if as_json:
        print_json({"kind": "run", "complete": finished, "record": record, "benchmarks": rows})
        return
    _print_record(f"Run {path}", {**record["model"], **record["settings"]}, record["versions"])
    if not finished:
        print_line("Not finished; run the same `score` command with --resume")
        return
    print_table("Benchmarks", tuple(rows[0]) if rows else ("none",), [tuple(row.values()) for row in rows])


def _inspect_neurons(path: Path, as_json: bool) -> None:
    chosen = read_neuron_set(path)
    if as_json:
        print_json(
            {
                "kind": "neurons",
                "name": chosen.name,
                "model": chosen.model,
                "n_neurons": len(chosen.neurons),
                "method": chosen.method,
                "sources": chosen.sources,
            }
        )
        return
    print_counts(chosen)
    print_table(
        "Best neurons",
        ("rank", "module", "layer", "index", "score"),
        [
            (rank + 1, neuron.module, neuron.layer, neuron.index, f"{score:.3e}")
            for rank, (neuron, score) in enumerate(zip(chosen.neurons[:10], chosen.scores, strict=False))
        ],
    )


def _inspect_evaluation(path: Path, as_json: bool) -> None:
    from culnig.evaluation.folder import read_results

    results = read_results(path)
    if as_json:
        print_json({"kind": "evaluation", **results})
        return
    _print_record(f"Evaluation {path}", {**results["model"], **results["settings"]}, results["versions"])
    print_rows(results["rows"])


def _print_record(title: str, settings: dict[str, Any], versions: dict[str, str]) -> None:
    made_by = ", ".join(f"{package} {version}" for package, version in versions.items())
    rows = [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    print_table(title, ("what", "value"), [*rows, ("made by", made_by)])
