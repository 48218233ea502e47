"""What is in a run folder, a neuron-set file or an evaluation folder, as one document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.questions import count_questions
from culnig.errors import InputError, StoreError, argument, option
from culnig.selection.neuron_set import read_neuron_set
from culnig.store import schema
from culnig.store.record import read_run_record
from culnig.store.run import Run
from culnig.store.warnings import run_warnings


def inspect(
    path: Path | str, *, verify: bool = False, top: int | None = None, benchmark: str | None = None
) -> dict[str, Any]:
    """Describe a run, a neuron set or an evaluation; `kind` in the result says which it is.

    `verify` reads every file of a run and compares all checksums (`verified`, `files`). `top` ranks the best
    N neurons of a run by target − control, with the items and tokens that raised them; `benchmark` names the
    target if the run has several. StoreError if the path is none of these, or damaged.
    """
    from culnig.evaluation.compare import has_current_tests, with_current_tests
    from culnig.evaluation.folder import REQUEST_FILE, RESULTS_FILE, read_results
    from culnig.evaluation.stored import open_evaluation

    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such file or folder")
    is_run = path.is_dir() and (path / schema.RUN_FILE).exists()
    if (verify or top) and not is_run:
        raise InputError(
            f"{option('verify')} and {argument('top')} are for run folders; {path} is not a run folder"
        )
    if verify:
        return _verified(path)
    if top:
        return _best(Run(path), top, benchmark)
    if path.is_file():
        return _neurons(path)
    if is_run:
        return _run(path)
    if (path / RESULTS_FILE).exists() or (path / REQUEST_FILE).exists():
        results = read_results(path)
        if not has_current_tests(results["rows"]):
            results = with_current_tests(open_evaluation(path)).results
        return {"kind": "evaluation", **results}
    raise StoreError(f"{path}: neither a run (no {schema.RUN_FILE}) nor an evaluation (no {RESULTS_FILE})")


def benchmark_rows(run: Run) -> list[dict[str, Any]]:
    """One row per benchmark of a run: how many items, and how the model answered them."""
    rows = []
    for stored in run.benchmarks.values():
        outcomes = run.outcomes(stored.name)
        answered = len(outcomes.id) > 0  # imported scores come without answers
        metrics: dict[str, NDArray[Any] | None] = {
            "accuracy": outcomes.correct,
            "option_accuracy": outcomes.option_correct,
            "p_gold": outcomes.p_gold,
            "option_mass": None if outcomes.by_likelihood else outcomes.option_mass,
        }
        rows.append(
            {
                "benchmark": stored.name,
                "role": stored.role,
                "split": stored.split,
                "n_cultures": len(stored.cultures),
                "n": stored.n_items,
                "n_questions": count_questions(outcomes) if answered else None,
                **{
                    name: None if values is None or not answered else float(np.mean(values))
                    for name, values in metrics.items()
                },
            }
        )
    return rows


def _verified(path: Path) -> dict[str, Any]:
    from culnig.store.verify import verify_run

    files = list(verify_run(path))
    return {
        "kind": "run",
        "verified": all(state.problem is None for state in files),
        "files": [state._asdict() for state in files],
    }


def _best(run: Run, n: int, benchmark: str | None) -> dict[str, Any]:
    from culnig.reanalysis.drivers import best_neurons, drivers

    target = benchmark or _only(run, "target")
    controls = run.with_role("control")
    control = controls[0].name if len(controls) == 1 else None
    flat, differences = best_neurons(run, target, control, n)
    drivers_of_neurons = [[] for _ in flat] if run.level == "culture" else drivers(run, target, flat)
    answers = run.outcomes(target)
    return {
        "kind": "run",
        "ranked_by": f"{target} − {control}" if control else target,
        "neurons": [
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
                    for driver in own_drivers
                ],
            }
            for neuron, difference, own_drivers in zip(
                run.layout.neurons(flat), differences, drivers_of_neurons, strict=True
            )
        ],
    }


def _only(run: Run, role: Role) -> str:
    names = [stored.name for stored in run.with_role(role)]
    if len(names) != 1:
        raise InputError(
            f"{run.folder} has {', '.join(names) or 'no benchmark'} with the role {role}; choose one with "
            f"{argument('benchmark')}"
        )
    return names[0]


def _run(path: Path) -> dict[str, Any]:
    complete = (path / schema.SCORES_FILE).exists()
    run = Run(path) if complete else None
    return {
        "kind": "run",
        "complete": complete,
        "record": read_run_record(path),
        "benchmarks": benchmark_rows(run) if run else [],
        "warnings": [warning.record() for warning in run_warnings(run)] if run else [],
        "files": {
            file.relative_to(path).as_posix(): file.stat().st_size
            for file in sorted(path.rglob("*"))
            if file.is_file()
        },
    }


def _neurons(path: Path) -> dict[str, Any]:
    chosen = read_neuron_set(path)
    return {
        "kind": "neurons",
        "name": chosen.name,
        "model": chosen.model,
        "n_neurons": len(chosen.neurons),
        "method": chosen.method,
        "sources": chosen.sources,
    }
