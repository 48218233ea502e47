"""Is a neuron's score more than chance over items? Welch's test from stored moments, then Benjamini–Hochberg.

A run stores Σw and Σw² of every (culture, neuron), w being the weighted item score as it enters the sums:
P(gold) · s, clamped at zero for control items. Each culture of each benchmark is one cell with a mean, a
variance and a number of items. A test is a contrast of cells, one number L = Σ weight · mean with standard
error² = Σ weight² · variance / n and the degrees of freedom of Welch and Satterthwaite (Biometrics Bulletin
1946; Welch, Biometrika 1947). With two cells of weight 1 and −1 it is Welch's t test.

All tests are one-sided: the null hypothesis is that L is zero or less. Items are taken as independent, which
items of one question are not quite: p-values from moments are too small by as much as such items agree. Where
item scores are stored, culnig.selection.permutation keeps questions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import Roles
from culnig.store import schema
from culnig.store.run import Run, Wanted

LEVEL = 0.05
"""False discovery rate at which survivors are counted where the user names none."""

Against = Literal["control", "others"]

_ROUNDING = 1e-12
"""A variance below this share of the mean square is rounding of the stored sums."""


@dataclass(frozen=True)
class Contrast:
    """Which cells are compared; weights are (culture,) in the target's order."""

    null: str
    """The null hypothesis in words."""
    against: Against
    """What the target is held against: its control, or the other cultures."""
    target: NDArray[np.float64]
    control: NDArray[np.float64] | None


def general_contrast(roles: Roles) -> Contrast:
    """All cultures together: L is the neuron's Σ over cultures of S_target − S_control."""
    target = np.array(roles.target.items_of_culture) / max(1, roles.target.n_items)
    if roles.control is None:
        return Contrast("the mean score of target items is not above zero", "control", target, None)
    counts = np.array(roles.control.items_of_culture)[roles.control_rows]
    return Contrast(
        "target items do not score higher than control items on average",
        "control",
        target,
        -counts / max(1, roles.control.n_items),
    )


def culture_contrast(roles: Roles, culture: str, against: Against) -> Contrast:
    """One culture against its own control, or target − control of it against the mean of the others'."""
    cultures = roles.target.cultures
    if culture not in cultures:
        raise UnknownNameError("culture of this run:", culture, cultures)
    own = np.array([float(name == culture) for name in cultures])
    if against == "control":
        if roles.control is None:
            raise SelectionError("a test against the control needs one; leave out --no-control")
        null = f"target items of {culture} do not score higher than its control items on average"
        return Contrast(null, "control", own, -own)
    if len(cultures) < 2:
        raise SelectionError(
            f"{culture} is the only culture of this run: there are no others to test against"
        )
    weights = own - (1 - own) / (len(cultures) - 1)
    minus = "" if roles.control is None else " minus control"
    null = f"the target{minus} of {culture} is not above the mean of the other cultures'"
    return Contrast(null, "others", weights, None if roles.control is None else -weights)


def contrast_p_values(
    weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    n_items: NDArray[np.int64],
) -> NDArray[np.float64]:
    """One-sided p of L ≤ 0 for each neuron, shape (neuron,).

    `weights` and `n_items` are (cell,), `sums` and `squares` (cell, neuron). p is 1 where no cell varies:
    there is nothing to judge by. SelectionError where a cell has fewer than two items.
    """
    from scipy.special import stdtr

    if np.isnan(squares).any():
        raise SelectionError(
            "this run holds sums only, as imported score files do: without sums of squares there is no test; "
            "score the model itself, or select without significance"
        )
    if n_items.min(initial=2) < 2:
        raise SelectionError(
            f"a variance needs at least 2 items of every culture, one has {int(n_items.min())}; score more "
            "items, or select without significance"
        )
    n = n_items.astype(np.float64)[:, None]
    mean = sums / n
    within = squares - sums * mean
    within[within < _ROUNDING * squares] = 0.0
    parts = within / (n - 1) * (np.square(weights)[:, None] / n)
    error = parts.sum(axis=0)
    estimate = weights @ mean
    testable = error > 0
    degrees = np.ones_like(error)
    np.divide(np.square(error), (np.square(parts) / (n - 1)).sum(axis=0), out=degrees, where=testable)
    t = np.zeros_like(error)
    np.divide(estimate, np.sqrt(error), out=t, where=testable)
    p: NDArray[np.float64] = np.where(testable, stdtr(degrees, -t), 1.0)
    return p


def p_values(run: Run, roles: Roles, contrast: Contrast, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """p of the contrast for the neurons at `positions` (ascending), read a range of neurons at a time."""
    weights, n_items, wanted = _cells(roles, contrast)
    if not weights.size:
        return np.ones(len(positions))
    n_tables = len(wanted) // 2
    found = np.empty(len(positions))
    for columns, values in run.blocks(wanted):
        first, last = np.searchsorted(positions, (columns.start, columns.stop))
        if first == last:
            continue
        inside = positions[first:last] - columns.start
        sums = np.concatenate([table[:, inside] for table in values[:n_tables]])
        squares = np.concatenate([table[:, inside] for table in values[n_tables:]])
        found[first:last] = contrast_p_values(weights, sums, squares, n_items)
    return found


def _cells(roles: Roles, contrast: Contrast) -> tuple[NDArray[np.float64], NDArray[np.int64], list[Wanted]]:
    """Weights and items of the cells that take part, and where their sums, then their squares, are stored."""
    weights: list[float] = []
    n_items: list[int] = []
    tables: list[tuple[str, list[int]]] = []
    for stored, given, places in (
        (roles.target, contrast.target, list(range(len(roles.target.cultures)))),
        (roles.control, contrast.control, roles.control_rows),
    ):
        if stored is None or given is None:
            continue
        rows = [place for place, weight in zip(places, given, strict=True) if weight != 0]
        weights += [float(weight) for weight in given if weight != 0]
        n_items += [stored.items_of_culture[row] for row in rows]
        tables.append((stored.name, rows))
    wanted = [
        Wanted(name, table, rows) for table in (schema.SUM, schema.SUM_OF_SQUARES) for name, rows in tables
    ]
    return np.array(weights), np.array(n_items, dtype=np.int64), wanted


def q_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini–Hochberg: the least false discovery rate at which each p is significant, shape as given."""
    if p.size == 0:
        return p
    from scipy.stats import false_discovery_control

    adjusted: NDArray[np.float64] = false_discovery_control(p, method="bh")
    return adjusted


def with_significance(
    chosen: NeuronSet,
    flat: NDArray[np.int64],
    positions: NDArray[np.int64],
    q: NDArray[np.float64],
    contrast: Contrast,
    *,
    fdr: float | None = None,
    test: str = "Welch",
) -> NeuronSet:
    """The set with a q-value per neuron and how many survive; only the survivors where `fdr` is given.

    `flat` are the set's positions; `q` belongs to `positions`, ascending, the family that was tested.
    """
    if fdr is not None:
        check_fdr(fdr)
    level = LEVEL if fdr is None else fdr
    own = q[np.searchsorted(positions, flat)]
    survivors = own <= level
    summary: dict[str, Any] = {
        "null": contrast.null,
        "against": contrast.against,
        "test": test,
        "correction": "Benjamini-Hochberg over all neurons of the pools",
        "fdr": level,
        "tested": len(positions),
        "tested_significant": int((q <= level).sum()),
        "selected": len(flat),
        "selected_significant": int(survivors.sum()),
        "is_rule": fdr is not None,
    }
    marked = replace(
        chosen,
        method={**chosen.method, "significance": [*chosen.method.get("significance", []), summary]},
        columns={**chosen.columns, "q_value": own},
    )
    return marked.keep(survivors) if fdr is not None else marked


def check_fdr(fdr: float) -> None:
    """SelectionError where a false discovery rate is not between 0 and 1."""
    if not 0 < fdr < 1:
        raise SelectionError(f"fdr is {fdr}; a rate between 0 and 1 is needed, such as 0.05")


def joined_pools(pools: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Neurons of all pools together, ascending: the family that is corrected for."""
    joined = np.concatenate(pools) if pools else np.empty(0, dtype=np.int64)
    joined.sort()
    return joined
