"""`culnig-engine demo`: the whole pipeline on the embedded model and our own questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig import api
from culnig.cli.evaluation_tables import print_changes, print_losses
from culnig.cli.options import defaults_of, out_options
from culnig.cli.output import print_json, print_line, print_table
from culnig.cli.progress import progress_view
from culnig.cli.selected import print_counts
from culnig.core.quantities import p_text, percent, points
from culnig.core.text import counted
from culnig.evaluation.verdicts import beyond_random
from culnig.selection.neuron_set import NeuronSet


@defaults_of(api.demo)
@click.command("demo")
@click.option("--quick", is_flag=True, help="Use few items: shows that everything works, but finds little.")
@out_options("Folder to create.", required=False)
def command(out: Path, quick: bool, overwrite: bool, as_json: bool) -> None:
    """Run the whole pipeline on the embedded model: score, select, mask, evaluate, show."""
    with progress_view() as view:
        done = api.demo(out, quick=quick, overwrite=overwrite, progress=view.progress, say=view.say)
    rows = done.evaluation.rows
    if as_json:
        print_json(
            {
                "n_neurons": len(done.neurons.neurons),
                "rows": rows,
                "processor": done.run.record["versions"]["processor"],
                "files": {name: str(path) for name, path in done.files.items()},
            }
        )
        return
    _print_result(done.neurons, rows)
    processor = done.run.record["versions"]["processor"]
    print_line(f"Computed on {processor}; on another processor the last digits may differ.")
    print_line()
    for name, path in done.files.items():
        print_line(f"{name + ':':12}{path}")


def _print_result(chosen: NeuronSet, rows: list[dict[str, Any]]) -> None:
    print_counts(chosen)
    unmasked, masked = rows[0], rows[1]
    random = [row for row in rows if row["like"] == chosen.name]
    metrics = ("accuracy", "option_accuracy", "p_gold", "option_mass")
    print_table(
        f"Masking them on {unmasked['n']:,} test items of {counted(unmasked['n_questions'], 'question')} "
        f"(chance {percent(unmasked['chance'])})",
        ("", "accuracy", "option acc.", "P(gold)", "option mass"),
        [
            (label, *(percent(_mean(own, metric)) for metric in metrics))
            for label, own in (
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
    """The result in words: whether P(gold) fell more than under random masks, and what was lost."""
    against = masked["against_random"]
    p_gold, mass = against["p_gold"], against["option_mass"]
    options = against["option_accuracy"]
    if not beyond_random(p_gold):
        return (
            "Masking the general neurons did not clearly lower P(gold) more than masking random neurons did "
            f"(p {p_text(p_gold['p_value'])} over random sets, {p_text(p_gold['questions_p'])} over "
            "questions)."
        )
    lost = "the answer format (the labels lose probability together)"
    if beyond_random(options):
        lost = "knowledge (the gold label falls behind the other labels)"
        if beyond_random(mass):
            lost += " and the answer format"
    elif not beyond_random(mass):
        lost = "neither clearly the format nor clearly knowledge"
    return (
        f"Masking the general neurons lowers P(gold) by {points(-p_gold['effect']).lstrip('+')} points more "
        "than masking "
        f"random neurons (p {p_text(p_gold['p_value'])}). What is lost: {lost}. A model of this size answers "
        "near chance, so this shows how the pipeline works, not a finding about culture."
    )


def _mean(rows: list[dict[str, Any]], metric: str) -> float:
    return float(sum(row[metric] for row in rows) / len(rows))
