"""A finding on a model whose neurons are not known: do the selected neurons carry the facts?

Neurons are selected from the run by the paper's rules, one general set and one of each culture, in the first
wording. The second wording judges them: accuracy with each set masked against random sets of equal size, and
the selectivity matrix. An audit compares the scores of the general set with exact effects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from culnig.core.progress import Progress, no_progress
from culnig.evaluation.evaluate import evaluate
from culnig.selection.general import select_general
from culnig.selection.random import select_random
from culnig.selection.specific import select_specific
from culnig.selection.tables import selection_tables
from culnig.store.run import Run
from culnig.validation.planted import PlantedModel
from culnig.validation.world import FACTS
from culnig.verification.linearisation import audit

RANDOM_SETS = 19
"""The fewest with which a rank among them can have p < 0.05."""
AUDITED_NEURONS, AUDITED_ITEMS = 20, 64


def find_in(
    planted: PlantedModel, run: Run, folder: Path, progress: Progress = no_progress
) -> dict[str, Any]:
    """Evaluate the selected neurons into `folder`; the rows, the matrix and the audit."""
    tables = selection_tables(run)
    general = select_general(tables)
    specific = [select_specific(tables, culture) for culture in planted.world.cultures]
    sets = [general, *(chosen for chosen in specific if chosen.neurons)]
    judged = {FACTS: planted.world.chosen("test")[FACTS]}
    evaluation = evaluate(
        *(planted.bound, judged, sets, folder),
        matrix=len(sets) == 1 + len(specific),
        random_baseline=RANDOM_SETS,
        check=False,
        overwrite=True,
        progress=progress,
    )
    layout = planted.bound.layout
    best = general.flat(layout)[:AUDITED_NEURONS]
    random = select_random(general, layout, planted.settings.seed).flat(layout)[:AUDITED_NEURONS]
    audited = audit(
        planted.bound, planted.world.chosen("identify")[FACTS].items[:AUDITED_ITEMS], best, random
    )
    return {
        "n_general": len(general.neurons),
        "n_specific": {
            culture: len(chosen.neurons)
            for culture, chosen in zip(planted.world.cultures, specific, strict=True)
        },
        "rows": evaluation.rows,
        "matrix": evaluation.results.get("matrix"),
        "audit": {
            name: {"n": correlation.n, "rho": _number(correlation.rho)}
            for name, correlation in audited.correlations.items()
        },
    }


def _number(value: float) -> float | None:
    return None if value != value else value
