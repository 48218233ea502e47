"""The scores that a selection ranks by: target − control, and exclusion scores, read from a run.

`general_totals` reads only sums over cultures, so a general selection from millions of neurons needs no
(culture, neuron) table. `selection_tables` reads that table for selections that compare cultures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.core.questions import count_questions
from culnig.errors import MismatchError, SelectionError, UnknownNameError, argument, option
from culnig.store import schema
from culnig.store.prompts import prompts_of, reason
from culnig.store.run import Run, StoredBenchmark, TableRows


@dataclass(frozen=True)
class GeneralTotals:
    """Scores summed over all cultures, for culture-general neurons (docs/method.md)."""

    layout: Layout
    difference: NDArray[np.float64]
    """Σ over cultures of S_target − S_control, shape (neuron,)."""
    exclusion: NDArray[np.float64] | None
    """Σ over its cultures of the exclusion score, shape (neuron,)."""
    model: str
    source: dict[str, Any]
    """What a neuron set records about the run."""


@dataclass(frozen=True)
class SelectionTables:
    """Culture scores of a run, for culture-general and culture-specific neurons (docs/method.md)."""

    layout: Layout
    cultures: tuple[str, ...]
    """Cultures of the target, the rows of `difference`."""
    difference: NDArray[np.float64]
    """S_target − S_control, shape (culture, neuron); S_target without a control."""
    exclusion: CultureMoments | None
    """Σw of the exclusion; a selection needs no squares and counts, which are left empty."""
    model: str
    source: dict[str, Any]
    """What a neuron set records about the run."""
    total: NDArray[np.float64] | None = None
    """`difference` summed over cultures before division, (neuron,); None to sum `difference` itself."""

    @property
    def totals(self) -> GeneralTotals:
        """Both tables summed over their cultures."""
        exclusion = None
        if self.exclusion is not None:
            exclusion = self.exclusion.sum.sum(axis=0) / max(1, int(self.exclusion.n_items.sum()))
        total = self.difference.sum(axis=0) if self.total is None else self.total
        return GeneralTotals(self.layout, total, exclusion, self.model, dict(self.source))


@dataclass(frozen=True)
class Roles:
    """The benchmarks of a run that a selection uses, by role."""

    target: StoredBenchmark
    control: StoredBenchmark | None
    """Has every culture of the target, in any order."""
    exclusion: StoredBenchmark | None
    control_rows: list[int] = field(default_factory=list)
    """The control's row of each culture of the target."""

    def source(self, run: Run) -> dict[str, Any]:
        """What a neuron set records about the run that it was made from."""
        by_role = {"target": self.target, "control": self.control, "exclusion": self.exclusion}
        used = {role: stored for role, stored in by_role.items() if stored is not None}
        return {
            "model": run.record["model"],
            "scores_hash": run.scores_hash,
            **({} if run.scorer is None else {"scorer": run.scorer}),
            "benchmarks": {role: stored.name for role, stored in used.items()},
            "n_items": {role: stored.n_items for role, stored in used.items()},
            "n_questions": {
                role: count_questions(run.outcomes(stored.name)) or None for role, stored in used.items()
            },
            "splits": {role: stored.split for role, stored in used.items()},
        }


def choose_roles(
    run: Run,
    *,
    target: str | None = None,
    control: str | None = None,
    exclusion: str | None = None,
    use_control: bool = True,
    use_exclusion: bool = True,
) -> Roles:
    """Find the benchmarks that a selection uses.

    `target`, `control` and `exclusion` name a benchmark of the run, by default the only one of that role.
    SelectionError if one is missing or ambiguous, or if the control lacks a culture of the target;
    MismatchError if their prompts have different dates or chat templates, or if the options of only one of
    target and control are read as texts.
    """
    of_target = _choose(run, "target", target)
    of_control = _choose(run, "control", control) if use_control else None
    of_exclusion = _choose(run, "exclusion", exclusion) if use_exclusion else None
    for other in (of_control, of_exclusion):
        if other is not None:
            _check_prompts(run, of_target, other)
    if of_control is None:
        return Roles(of_target, None, of_exclusion)
    missing = [culture for culture in of_target.cultures if culture not in of_control.cultures]
    if missing:
        raise SelectionError(
            f"control {of_control.name!r} of {run.folder} has no items of {', '.join(missing)}; score the "
            f"control with the same cultures as the target, or use {option('control', False)}"
        )
    _check_answers(run, of_target, of_control)
    rows = [of_control.cultures.index(culture) for culture in of_target.cultures]
    return Roles(of_target, of_control, of_exclusion, rows)


def _check_prompts(run: Run, target: StoredBenchmark, other: StoredBenchmark) -> None:
    prompts = [prompts_of(run.record, stored.name) for stored in (target, other)]
    if problem := reason(*prompts, same_items=False):
        raise MismatchError(
            f"{target.name!r} and {other.name!r} of {run.folder} do not belong together: {problem}"
        )


def _check_answers(run: Run, target: StoredBenchmark, control: StoredBenchmark) -> None:
    benchmarks = run.record.get("benchmarks", {})
    names = (target.name, control.name)
    answers = {name: benchmarks.get(name, {}).get("answers", {"by": "label"}) for name in names}
    if answers[target.name] != answers[control.name]:
        kinds = " and ".join(
            f"{name!r} by {own['by']}{' per byte' if own.get('normalize') == 'bytes' else ''}"
            for name, own in answers.items()
        )
        raise MismatchError(
            f"{run.folder} has answers to {kinds}, so their scores are gradients or weights of different "
            f"quantities and cannot be subtracted; score a control of the same kind, or use "
            f"{option('control', False)}"
        )


def selection_tables(run: Run, **which: Any) -> SelectionTables:
    """Read the culture scores of a run; arguments and errors are those of `choose_roles`."""
    roles = choose_roles(run, **which)
    cultures, n_neurons = roles.target.cultures, run.layout.n_neurons
    difference, total = np.empty((len(cultures), n_neurons)), np.empty(n_neurons)
    excluded = None
    if roles.exclusion is not None:
        stored = roles.exclusion
        sums = np.empty((len(stored.cultures), n_neurons))
        excluded = CultureMoments.of_sums(stored.cultures, stored.items_of_culture, sums)
    for columns, values in run.blocks(_sums(roles)):
        total[columns] = _block_total(roles, values)
        difference[:, columns] = _block_difference(roles, values)
        if excluded is not None:
            excluded.sum[:, columns] = values[-1]
    return SelectionTables(run.layout, cultures, difference, excluded, run.model, roles.source(run), total)


def general_totals(run: Run, **which: Any) -> GeneralTotals:
    """Culture scores of a run summed over cultures; arguments and errors are those of `choose_roles`."""
    roles = choose_roles(run, **which)
    if roles.control is None or roles.control.cultures == roles.target.cultures:
        difference = run.total(roles.target.name) / max(1, roles.target.n_items)
        if roles.control is not None:
            difference -= run.total(roles.control.name) / max(1, roles.control.n_items)
    else:  # the control has further cultures or another order
        difference = np.empty(run.layout.n_neurons)
        for columns, values in run.blocks(_sums(replace(roles, exclusion=None))):
            difference[columns] = _block_total(roles, values)
    excluded = None
    if roles.exclusion is not None:
        excluded = run.total(roles.exclusion.name) / max(1, roles.exclusion.n_items)
    return GeneralTotals(run.layout, difference, excluded, run.model, roles.source(run))


def _sums(roles: Roles) -> list[TableRows]:
    tables = [TableRows(roles.target.name, schema.SUM)]
    if roles.control is not None:
        tables.append(TableRows(roles.control.name, schema.SUM, roles.control_rows))
    if roles.exclusion is not None:
        tables.append(TableRows(roles.exclusion.name, schema.SUM))
    return tables


def _block_total(roles: Roles, values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """S_target − S_control of a range of neurons, over all cultures."""
    total: NDArray[np.float64] = values[0].sum(axis=0) / max(1, roles.target.n_items)
    if roles.control is not None:
        total -= values[1].sum(axis=0) / max(1, roles.control.n_items)
    return total


def _block_difference(roles: Roles, values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """S_target − S_control of a range of neurons, computed in the target's buffer."""
    difference = values[0]
    difference /= max(1, roles.target.n_items)
    if roles.control is not None:
        values[1] /= max(1, roles.control.n_items)
        difference -= values[1]
    return difference


def _choose(run: Run, role: Role, name: str | None) -> StoredBenchmark:
    if name is not None:
        if name not in run.benchmarks:
            raise UnknownNameError(f"benchmark of run {run.folder}:", name, run.benchmarks)
        stored = run.benchmarks[name]
        if stored.role != role:
            raise SelectionError(
                f"benchmark {name!r} has the role {stored.role} in {run.folder}; choose one with the role "
                f"{role}"
            )
        return stored
    candidates = run.with_role(role)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(b.name for b in candidates)
        raise SelectionError(
            f"{run.folder} has several {role} benchmarks ({names}); choose one with {argument(role)}"
        )
    existing = ", ".join(f"{b.name} ({b.role})" for b in run.benchmarks.values()) or "no benchmark"
    advice = "" if role == "target" else f", or select without it: {option(role, False)}"
    raise SelectionError(
        f"{run.folder} has no {role} benchmark, only {existing}; score one into the run{advice}"
    )
