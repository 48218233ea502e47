"""`culnig-engine import`: results of other programs, as a run or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluation_tables import print_results
from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json, print_line, print_table
from culnig.errors import InputError, argument


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--model-name", help="Name of the scored model; by default MODEL in the path outputs/MODEL/….")
@out_options("Run or evaluation folder to create.")
def command(
    files: tuple[Path, ...], model_name: str | None, out: Path, overwrite: bool, as_json: bool
) -> None:
    """Turn score files of the released code into a run, or logs of lm-evaluation-harness into an evaluation.

    Score files (…_max_scores.json) become a run that you can select from. Names of data sets give the roles:
    …control is the control, countryrc the exclusion, any other a target.

    Logs (folders of --output_path, or results_….json, written with --log_samples) become an evaluation that
    you can compare and report. Each run of the harness is a condition.
    """
    from culnig.exchange.harness_logs import is_harness_log

    are_logs = [is_harness_log(path) for path in files]
    if any(are_logs) and not all(are_logs):
        log, other = files[are_logs.index(True)], files[are_logs.index(False)]
        raise InputError(
            f"{log} is a log of lm-evaluation-harness and {other} is not; import score files and logs into "
            "separate outputs"
        )
    if all(are_logs):
        _logs(files, model_name, out, overwrite, as_json)
    else:
        _scores(files, model_name, out, overwrite, as_json)


def _logs(files: tuple[Path, ...], model_name: str | None, out: Path, overwrite: bool, as_json: bool) -> None:
    from culnig.exchange.harness_logs import import_evaluation

    if model_name is not None:
        raise InputError(f"{argument('model_name')} is only for score files; logs name their model")
    evaluation = import_evaluation(files, out, overwrite=overwrite)
    if as_json:
        print_json({"evaluation": str(out), "rows": evaluation.rows})
        return
    print_results(evaluation.results)
    print_line(f"Written to {out}")


def _scores(
    files: tuple[Path, ...], model_name: str | None, out: Path, overwrite: bool, as_json: bool
) -> None:
    from culnig.reanalysis.score_files import import_scores

    run = import_scores(files, out, model_name=model_name, overwrite=overwrite)
    rows: list[dict[str, Any]] = [
        {
            "benchmark": stored.name,
            "role": stored.role,
            "n_cultures": len(stored.cultures),
            "n": stored.n_items,
        }
        for stored in run.benchmarks.values()
    ]
    if as_json:
        print_json(
            {"run": str(out), "model": run.model, "n_neurons": run.layout.n_neurons, "benchmarks": rows}
        )
        return
    print_table(
        f"{run.layout.n_neurons:,} neurons of {run.model}",
        ("benchmark", "role", "cultures", "items"),
        [tuple(row.values()) for row in rows],
    )
    print_line(f"Written to {out}")
