"""`culnig-engine inspect`: what is in a run, a neuron set or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluate import print_results
from culnig.cli.options import json_option
from culnig.cli.output import print_json, print_line, print_table, size_text
from culnig.cli.score import summary_rows
from culnig.cli.selected import print_counts
from culnig.core.items import Role
from culnig.errors import StoreError
from culnig.selection.neuron_set import read_neuron_set
from culnig.store import schema
from culnig.store.record import read_run_record
from culnig.store.run import Run

EXIT_DAMAGED = 1


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Read every file of a run and compare all checksums.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Show the best N neurons of a run with the items and tokens that raised them.",
)
@click.option("--benchmark", help="With --top: the target benchmark, where the run has several.")
@json_option()
def command(path: Path, verify: bool, top: int | None, benchmark: str | None, as_json: bool) -> int:
    """Show what is in a run folder, a neuron-set file or an evaluation folder.

    With --verify, exit code 1 says that something is damaged.
    """
    from culnig.evaluation.folder import REQUEST_FILE, RESULTS_FILE

    if not path.exists():
        raise StoreError(f"{path}: no such file or folder")
    is_run = path.is_dir() and (path / schema.RUN_FILE).exists()
    if (verify or top) and not is_run:
        raise click.UsageError(f"--verify and --top are for run folders; {path} is none")
    if verify:
        return _verify(path, as_json)
    if top:
        _show_top(Run(path), top, benchmark, as_json)
    elif path.is_file():
        _inspect_neurons(path, as_json)
    elif is_run:
        _inspect_run(path, as_json)
    elif (path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists():
        _inspect_evaluation(path, as_json)
    else:
        raise StoreError(
            f"{path}: neither a run (no {schema.RUN_FILE}) nor an evaluation (no {RESULTS_FILE})"
        )
    return 0


def _verify(path: Path, as_json: bool) -> int:
    from culnig.store.verify import verify_run

    states = list(verify_run(path))
    damaged = [state for state in states if state.problem is not None]
    if as_json:
        print_json({"kind": "run", "verified": not damaged, "files": [state._asdict() for state in states]})
    else:
        rows = [(state.file, size_text(state.n_bytes), state.problem or "ok") for state in states]
        print_table(f"Files of {path}", ("file", "size", "state"), rows)
    return EXIT_DAMAGED if damaged else 0


def _show_top(run: Run, n: int, benchmark: str | None, as_json: bool) -> None:
    from culnig.reanalysis.drivers import best_neurons, drivers

    target = benchmark or _only(run, "target")
    controls = run.with_role("control")
    control = controls[0].name if len(controls) == 1 else None
    flat, differences = best_neurons(run, target, control, n)
    raised = [[] for _ in flat] if run.level == "culture" else drivers(run, target, flat)
    answers = run.outcomes(target)
    rows: list[dict[str, Any]] = [
        {
            "module": neuron.module,
            "layer": neuron.layer,
            "index": neuron.index,
            "score": difference,
            "items": [
                {
                    "id": answers.id[driver.item],
                    "culture": answers.culture[driver.item],
                    "score": driver.score,
                    "token": driver.token,
                    "text": driver.text,
                }
                for driver in each
            ],
        }
        for neuron, difference, each in zip(run.layout.neurons(flat), differences, raised, strict=True)
    ]
    less = f" − {control}" if control else ""
    if as_json:
        print_json({"kind": "run", "ranked_by": f"{target}{less}", "neurons": rows})
        return
    print_table(
        f"Best neurons by {target}{less}, over all cultures",
        ("module", "layer", "index", "score", "raised by (culture, item, token)"),
        [
            (
                row["module"],
                row["layer"],
                row["index"],
                f"{row['score']:.3e}",
                "; ".join(f"{item['culture']} {item['id']} {item['text']!r}" for item in row["items"]),
            )
            for row in rows
        ],
    )
    if run.level == "culture":
        print_line("Items are kept at --level item or token")


def _only(run: Run, role: Role) -> str:
    found = run.with_role(role)
    if len(found) != 1:
        names = ", ".join(stored.name for stored in found) or "none"
        raise click.UsageError(f"{run.folder} has {names} of role {role}; choose one with --benchmark")
    return found[0].name


def _inspect_run(path: Path, as_json: bool) -> None:
    record = read_run_record(path)
    finished = (path / schema.SCORES_FILE).exists()
    rows = summary_rows(Run(path)) if finished else []
    sizes = {
        file.relative_to(path).as_posix(): file.stat().st_size
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    if as_json:
        print_json(
            {"kind": "run", "complete": finished, "record": record, "benchmarks": rows, "files": sizes}
        )
        return
    _print_record(f"Run {path}", {**record["model"], **record["settings"]}, record.get("versions", {}))
    print_line(f"{len(sizes)} files, {size_text(sum(sizes.values()))}")
    if not finished:
        shard = record.get("shard")
        how = "merge it with the other shards" if shard else "run the same `score` command with --resume"
        print_line(f"Not finished; {how}")
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
    print_results(results)


def _print_record(title: str, settings: dict[str, Any], versions: dict[str, str]) -> None:
    made_by = ", ".join(f"{package} {version}" for package, version in versions.items())
    rows = [(name.replace("_", " "), str(value)) for name, value in settings.items()]
    print_table(title, ("what", "value"), [*rows, ("made by", made_by)])
