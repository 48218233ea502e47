"""`culnig-engine demo`: the whole way of the data on the embedded model and our own questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from culnig.cli.evaluating import evaluate_into
from culnig.cli.evaluation_tables import print_changes, print_losses
from culnig.cli.model_options import ModelChoice
from culnig.cli.options import json_option, overwrite_option, read_benchmarks
from culnig.cli.output import p_text, percent, print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.cli.selected import print_counts
from culnig.items import ChosenItems
from culnig.selection.neuron_set import NeuronSet


@dataclass(frozen=True)
class DemoSize:
    """How much the demo computes."""

    find: int
    """Everyday items of each of the 16 cultures that find neurons."""
    judge: int
    """Everyday test items of each culture that judge them."""
    country_items: int
    """Country-reading items of each of the 8 cultures."""
    n_random: int
    """Random baselines."""


FULL = DemoSize(find=10, judge=8, country_items=8, n_random=4)
QUICK = DemoSize(find=2, judge=1, country_items=1, n_random=2)
TOKEN_BUDGET = 2048


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("culnig-demo"),
    show_default=True,
)
@click.option("--quick", is_flag=True, help="Few items: shows that everything works, finds little.")
@overwrite_option()
@json_option()
def command(output: Path, quick: bool, overwrite: bool, as_json: bool) -> None:
    """Run the whole pipeline on the embedded model: score, select, mask, evaluate, show."""
    from culnig.evaluation.compare import open_evaluation
    from culnig.evaluation.folder import prepare_evaluation_folder
    from culnig.extraction.run import score_run
    from culnig.extraction.scoring import ScoreSettings
    from culnig.inference.products import processor
    from culnig.report.figures import overview_figure
    from culnig.report.page import Report
    from culnig.report.sources import Sources
    from culnig.selection.general import select_general
    from culnig.selection.tables import selection_tables

    size = QUICK if quick else FULL
    run_folder, evaluation_folder = output / "run", output / "evaluation"
    neurons_file, figure_file = output / "general.neurons.json", output / "overview.png"
    report_file = output / "report.html"
    prepare_evaluation_folder(evaluation_folder, overwrite=overwrite)
    with progress_view() as view:
        view.say("loading the embedded model (SmolLM2-135M-Instruct)")
        bound = ModelChoice("embedded", {"dtype": "float32", "device": "cpu"}).load()
        scored = _scored_items(size)
        for name, those in scored.items():
            view.add(f"score {name}", len(those.items))
        run = score_run(
            bound,
            scored,
            ScoreSettings(token_budget=TOKEN_BUDGET),
            run_folder,
            overwrite=overwrite,
            progress=lambda name, n_items: view.advance(f"score {name}", n_items),
        )
        chosen = select_general(selection_tables(run))
        chosen.write(neurons_file, overwrite=overwrite)
        results = evaluate_into(
            evaluation_folder,
            bound,
            read_benchmarks(("everyday",), None, "test", (), None, size.judge),
            [chosen],
            view,
            factor=0.0,
            n_random=size.n_random,
            match="module",
            token_budget=TOKEN_BUDGET,
        )
        rows = results["rows"]
    overview_figure(figure_file, chosen, run.layout, rows, "everyday")
    shown = Sources([run], [open_evaluation(evaluation_folder)], [chosen])
    Report(shown, title="culnig-engine demo: SmolLM2-135M-Instruct").write(report_file)
    files = {
        "scores": run_folder,
        "neurons": neurons_file,
        "evaluation": evaluation_folder,
        "picture": figure_file,
        "report": report_file,
    }
    if as_json:
        print_json(
            {
                "n_neurons": len(chosen.neurons),
                "rows": rows,
                "processor": processor(),
                "files": {k: str(v) for k, v in files.items()},
            }
        )
        return
    _print_result(chosen, rows)
    print_line(f"These figures were computed on {processor()}; on another the last digits may differ.")
    print_line()
    for what, path in files.items():
        print_line(f"{what + ':':12}{path}")


def _scored_items(size: DemoSize) -> dict[str, ChosenItems]:
    everyday = read_benchmarks(("everyday", "everyday-control"), None, "identify", (), None, size.find)
    return everyday | read_benchmarks(("country-rc",), None, "identify", (), None, size.country_items)


def _print_result(chosen: NeuronSet, rows: list[dict[str, Any]]) -> None:
    print_counts(chosen)
    unmasked, masked = rows[0], rows[1]
    random = [row for row in rows if row["like"] == chosen.name]
    print_table(
        f"Masking them on {unmasked['n']} test items (chance {percent(unmasked['chance'])})",
        ("", "accuracy", "option acc.", "P(gold)", "option mass"),
        [
            (
                label,
                percent(_mean(some, "accuracy")),
                percent(_mean(some, "option_accuracy")),
                _mean(some, "confidence"),
                _mean(some, "option_mass"),
            )
            for label, some in (
                ("unmasked", [unmasked]),
                ("general masked", [masked]),
                (f"random masked, mean of {len(random)}", random),
            )
        ],
    )
    print_changes([masked])
    print_losses([masked])
    print_line(_in_words(masked))
    print_line()


def _in_words(masked: dict[str, Any]) -> str:
    """What the figures allow to say: did P(gold) fall more than under random masks, and what was lost."""
    against = masked["against_random"]
    confidence, mass = against["confidence"], against["option_mass"]
    options = against["option_accuracy"]
    if confidence["p_value"] >= 0.05:
        return (
            "Masking the general neurons did not lower P(gold) more than masking random neurons did "
            f"(p = {p_text(confidence['p_value'])})."
        )
    lost = "the answer format (the labels lose probability together)"
    if options["p_value"] < 0.05:
        lost = "knowledge (the gold label falls behind the other labels)"
        if mass["p_value"] < 0.05:
            lost += " and the answer format"
    elif mass["p_value"] >= 0.05:
        lost = "neither clearly the format nor clearly knowledge"
    return (
        f"Masking the general neurons lowers P(gold) by {-confidence['effect']:.4f} more than masking random "
        f"neurons (p {p_text(confidence['p_value'])}). What is lost: {lost}. A model of this size answers "
        "near chance, so this shows the way of the data, not a finding about culture."
    )


def _mean(rows: list[dict[str, Any]], metric: str) -> float:
    return float(sum(row[metric] for row in rows) / len(rows))
