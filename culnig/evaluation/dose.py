"""Dose and response: what each factor and set size does to cultural benchmarks, and what else it breaks.

A benchmark whose items ask for no culture (`commonsenseqa`, `qnli` …) shows the damage. A dose is good when
its effect is large and its damage small; the Pareto front holds the doses that no other beats in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

METRICS = ("accuracy", "p_gold")


@dataclass(frozen=True)
class Dose:
    """One factor and size of a set, in one metric."""

    condition: str
    of_set: str
    factor: float
    share: float
    n_neurons: int
    metric: str
    effect: float | None
    """Mean change over the cultural benchmarks in the direction asked for: a fall where the factor is below
    1, a rise above. None without such a benchmark."""
    damage: float | None
    """Mean fall over the other benchmarks. None without such a benchmark."""
    specificity: float | None
    """Effect − damage."""
    n_questions: int
    """Questions of the cultural benchmarks."""
    n_damage_questions: int
    """Questions of the other benchmarks."""
    best: bool
    """On the Pareto front: no other dose of this metric has more effect at no more damage, or less damage at
    no less effect."""


def dose_table(rows: Sequence[dict[str, Any]], cultural: Collection[str]) -> list[Dose]:
    """Doses of the sets in evaluation rows, by metric; `cultural` names the benchmarks that ask for culture.

    Random baselines are left out. Doses are in the order of the rows.
    """
    doses = []
    conditions = dict.fromkeys(row["condition"] for row in rows if row["change"] and row["like"] is None)
    for metric in METRICS:
        for condition in conditions:
            own = [row for row in rows if row["condition"] == condition and metric in row["change"]]
            if own:
                doses.append(_dose(own, metric, cultural))
    return [_judged(dose, doses) for dose in doses]


def _dose(rows: Sequence[dict[str, Any]], metric: str, cultural: Collection[str]) -> Dose:
    changes = {row["benchmark"]: row["change"][metric]["effect"] for row in rows}
    aimed = [change for name, change in changes.items() if name in cultural]
    other = [change for name, change in changes.items() if name not in cultural]
    factor = rows[0]["factor"]
    effect = float(np.mean(aimed)) * (1 if factor > 1 else -1) if aimed else None
    damage = -float(np.mean(other)) if other else None
    return Dose(
        condition=rows[0]["condition"],
        of_set=rows[0]["of_set"],
        factor=factor,
        share=rows[0]["share"],
        n_neurons=rows[0]["n_neurons"],
        metric=metric,
        effect=effect,
        damage=damage,
        specificity=effect - damage if effect is not None and damage is not None else None,
        n_questions=sum(row["n_questions"] for row in rows if row["benchmark"] in cultural),
        n_damage_questions=sum(row["n_questions"] for row in rows if row["benchmark"] not in cultural),
        best=False,
    )


def dose_questions(doses: Sequence[Mapping[str, Any]]) -> str:
    """The questions that doses rest on, for a title; empty in evaluations of earlier versions."""
    first = doses[0]
    if "n_questions" not in first:
        return ""
    return (
        f"; {first['n_questions']:,} questions for the effect, {first['n_damage_questions']:,} for the damage"
    )


def _judged(dose: Dose, doses: Sequence[Dose]) -> Dose:
    if dose.effect is None or dose.damage is None:
        return dose
    beaten = any(
        other.effect >= dose.effect
        and other.damage <= dose.damage
        and (other.effect > dose.effect or other.damage < dose.damage)
        for other in doses
        if other.metric == dose.metric and other.effect is not None and other.damage is not None
    )
    return replace(dose, best=not beaten)
