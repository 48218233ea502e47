"""From a run to the tables a selection needs: target, control, exclusion, with the same cultures in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, UnknownNameError
from culnig.items import Role
from culnig.neurons import Layout
from culnig.scores import CultureMoments
from culnig.store.run import Run, StoredBenchmark


@dataclass(frozen=True)
class SelectionTables:
    """Culture scores of a run, as the selections of METHOD §3 and §4 need them."""

    layout: Layout
    cultures: tuple[str, ...]
    """Cultures of the target, in its order; rows of `difference`."""
    difference: NDArray[np.float64]
    """S_target − S_control, shape (culture, neuron); S_target where there is no control."""
    exclusion: CultureMoments | None
    model: str
    source: dict[str, Any]
    """What a neuron set says about the run."""


def selection_tables(
    run: Run,
    *,
    target: str | None = None,
    control: str | None = None,
    exclusion: str | None = None,
    use_control: bool = True,
    use_exclusion: bool = True,
) -> SelectionTables:
    """Read the tables of a run.

    `target`, `control` and `exclusion` name a benchmark of the run; without a name it is the only one of
    that role. SelectionError where one is missing or the choice is open.
    """
    aim = _choose(run, "target", target)
    moments = run.moments(aim.name)
    difference = moments.culture_scores
    used = {"target": aim.name}
    if use_control:
        without = _choose(run, "control", control)
        difference = difference - _control_rows(run, without, moments.cultures)
        used["control"] = without.name
    excluded = None
    if use_exclusion:
        third = _choose(run, "exclusion", exclusion)
        excluded = run.moments(third.name)
        used["exclusion"] = third.name
    source = {
        "model": run.record["model"],
        "scores_hash": run.scores_hash,
        "benchmarks": used,
        "n_items": {role: run.benchmarks[name].n_items for role, name in used.items()},
        "splits": {role: run.benchmarks[name].split for role, name in used.items()},
    }
    return SelectionTables(run.layout, moments.cultures, difference, excluded, run.model, source)


def _choose(run: Run, role: Role, name: str | None) -> StoredBenchmark:
    if name is not None:
        if name not in run.benchmarks:
            raise UnknownNameError(f"benchmark of run {run.folder}:", name, run.benchmarks)
        found = run.benchmarks[name]
        if found.role != role:
            raise SelectionError(f"benchmark {name!r} has role {found.role} in this run, {role} is needed")
        return found
    candidates = run.with_role(role)
    if len(candidates) == 1:
        return candidates[0]
    there = ", ".join(f"{b.name} ({b.role})" for b in run.benchmarks.values()) or "no benchmark"
    if candidates:
        names = ", ".join(b.name for b in candidates)
        raise SelectionError(f"{run.folder} has several {role} benchmarks ({names}); choose with --{role}")
    without = {"control": "--no-control", "exclusion": "--no-exclusion"}.get(role)
    advice = f", or go on without it: {without}" if without else ""
    raise SelectionError(
        f"{run.folder} has no {role} benchmark, only {there}; score one into the run{advice}"
    )


def _control_rows(run: Run, control: StoredBenchmark, cultures: tuple[str, ...]) -> NDArray[np.float64]:
    missing = [culture for culture in cultures if culture not in control.cultures]
    if missing:
        raise SelectionError(
            f"control {control.name!r} of {run.folder} has no items of {', '.join(missing)}; score the "
            "control with the same cultures as the target, or use --no-control"
        )
    return run.moments(control.name).rows(cultures)
