"""A finding on a model whose neurons are not known: do the selected neurons carry the facts?

Neurons are selected from the run, in the first wording: one general set by the paper's rules, and one set of
each culture by each of RULES. The second wording of every second question judges them: the general set
against random sets of equal size, each culture's set against random sets on the culture's own questions, and
all sets of cultures in the selectivity matrix. An audit compares the scores of the general set with exact
effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from culnig.benchmarks.base import ChosenItems
from culnig.core.progress import Progress, no_progress
from culnig.core.text import file_name
from culnig.evaluation.evaluate import evaluate
from culnig.evaluation.stored import Evaluation
from culnig.models.embedded import model_name
from culnig.selection.general import select_general
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.presets import BEST, BEST_SCORERS
from culnig.selection.random import select_random
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import selection_tables
from culnig.store.run import Run
from culnig.validation.planted import PlantedModel
from culnig.validation.world import FACTS
from culnig.verification.linearisation import audit

SCORER = BEST_SCORERS[0]
"""What the run has to hold beside the default score."""
PAPER = "paper"
RULES = {PAPER: (None, SpecificSettings()), "best": (SCORER, BEST)}
"""Presets of `select specific`: a scorer (None: the default score) and settings."""
RANDOM_SETS = 19
"""The fewest whose rank p can be as low as 0.05."""
EVERY = 2
"""One question in so many judges the sets."""
AUDITED_NEURONS, AUDITED_ITEMS = 20, 16


def find_in(
    planted: PlantedModel, run: Run, folder: Path, progress: Progress = no_progress
) -> dict[str, Any]:
    """Evaluate the selected neurons into folders below `folder`; rows, matrices and the audit."""
    general, cultures = select_general(selection_tables(run)), planted.world.cultures
    specific = {}
    for rule, (scorer, settings) in RULES.items():
        tables = selection_tables(run if scorer is None else Run(run.folder, scorer))
        specific[rule] = [select_specific(tables, culture, settings) for culture in cultures]
    judged = _judged(planted)

    def masked(sets: Sequence[NeuronSet], items: ChosenItems, name: str, **settings: Any) -> Evaluation:
        return evaluate(
            *(planted.bound, {FACTS: items}, sets, folder / file_name(name.replace(" ", "-"))),
            check=False,
            overwrite=True,
            progress=lambda task, done, total: progress(f"{name}: {task}", done, total),
            **settings,
        )

    evaluation = masked([general], judged, "general", random_baseline=RANDOM_SETS)
    own_rows = {
        culture: masked([chosen], items, f"own {culture}", random_baseline=RANDOM_SETS).rows
        for culture, chosen in zip(cultures, specific[PAPER], strict=True)
        if chosen.neurons and (items := _of(judged, culture)).items
    }
    by_rule = {}
    for rule, chosen in specific.items():
        present = [neurons for neurons in chosen if neurons.neurons]
        matrix = masked(present, judged, f"matrix {rule}", matrix=True) if len(present) > 1 else None
        by_rule[rule] = {
            "n_specific": {
                culture: len(neurons.neurons) for culture, neurons in zip(cultures, chosen, strict=True)
            },
            "matrix": matrix and matrix.results["matrix"],
        }
    return {
        "model": planted.bound.source,
        "n_facts": len({(item.question_id, item.culture) for item in planted.world.benchmarks[FACTS].items}),
        "n_general": len(general.neurons),
        "rows": evaluation.rows,
        "own": own_rows,
        "by_rule": by_rule,
        "audit": _audited(planted, general),
    }


def draw_finding(finding: dict[str, Any], path: Path) -> None:
    """Draw accuracies under the masks, and both matrices, as a PNG."""
    from culnig.core import plots

    shown = [("general neurons", finding["rows"])]
    shown += [(f"{culture}'s neurons, its questions", rows) for culture, rows in finding["own"].items()]
    masks = []
    for name, (unmasked, masked, *random) in shown:
        accuracies = [row["accuracy"] for row in random]
        masks.append((name, unmasked["accuracy"], masked["accuracy"], accuracies))
    matrices = []
    for rule, result in finding["by_rule"].items():
        for matrix in result["matrix"] or ():
            if matrix["metric"] == "accuracy":
                title = f"change of accuracy, points; preset {rule}"
                change = np.array(matrix["change"], dtype=np.float64)
                matrices.append((title, matrix["masked"], matrix["evaluated"], change))
    name = model_name(finding["model"])
    title = f"What {name} still answers with neurons masked, after learning {finding['n_facts']} facts"
    figure = plots.finding_figure(title, masks, matrices)
    plots.save(figure, path, "png")


def _judged(planted: PlantedModel) -> ChosenItems:
    """The second wording of one question in EVERY."""
    facts = planted.world.chosen("test")[FACTS]
    questions = list(dict.fromkeys(item.question_id for item in facts.items))[::EVERY]
    return replace(facts, items=[item for item in facts.items if item.question_id in questions])


def _of(chosen: ChosenItems, culture: str) -> ChosenItems:
    return replace(chosen, items=[item for item in chosen.items if item.culture == culture])


def _audited(planted: PlantedModel, general: NeuronSet) -> dict[str, Mapping[str, Any]]:
    layout = planted.bound.layout
    best = general.flat(layout)[:AUDITED_NEURONS]
    random = select_random(general, layout, planted.settings.seed).flat(layout)[:AUDITED_NEURONS]
    items = planted.world.chosen("identify")[FACTS].items
    step = max(1, len(items) // AUDITED_ITEMS)
    audited = audit(planted.bound, items[::step][:AUDITED_ITEMS], best, random)
    return {
        name: {"n": correlation.n, "rho": _number(correlation.rho)}
        for name, correlation in audited.correlations.items()
    }


def _number(value: float) -> float | None:
    return None if value != value else value
